"""Split a Keras network of your own into the head and tail of a bundle, and diagnose with it.

The same from the command line: `securesplit cuts mine.keras`, `securesplit split mine.keras --at second --out mine`.
"""

import tempfile
from pathlib import Path

import numpy as np

from securesplit import Client
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import keras_graph, packing, splitting
from securesplit.worker import EmbeddedWorker


def network() -> object:
    """Photo of 64 × 64 in 0..255 -> one logit of malignant; the weights are random."""
    keras = keras_graph.load_keras()
    keras.utils.set_random_seed(1)
    photo = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(photo)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu", name="second")(x)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(photo, keras.layers.Dense(1, name="malignant")(pooled), name="mine")


def main() -> None:
    """List the cuts, split, and ask a worker that serves the new bundle."""
    mine = keras_graph.unfold(network(), 64)
    for cut in splitting.list_cuts(mine):
        print(f"{cut.layer}: {cut.shape}, {cut.float32_bytes} bytes")
    photos = np.stack([draw_lesion(seed, 64) for seed in range(8)])
    packed = packing.pack(mine, "second", photos, precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        bundle, about = Path(folder) / "mine", {"licence": "not stated", "provenance": {}}
        packing.write_bundle(bundle, packed, name="mine", backbone="mine", cut="second", side=64, about=about)
        print(packed.parity.line())
        with EmbeddedWorker(bundle) as worker:
            client = Client(worker.endpoint, credentials=worker.client_credentials, state=folder, model=bundle)
            with client:
                print(f"malignant {client.diagnose(draw_lesion(9), anyway=True).malignant:.3f}")


if __name__ == "__main__":
    main()
