"""The whole network as a TensorFlow function of a fixed shape in one process."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.peer import Inputs, answer_photos


def main(_word: str, folder: str) -> None:
    """Answer photos."""
    import keras
    import tensorflow as tf

    inputs = Inputs(Path(folder))
    threads = int(inputs.facts["threads"])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    network = keras.models.load_model(inputs.folder / "whole.keras", compile=False)
    side = int(inputs.facts["side"])
    whole = tf.function(
        lambda photo: network(photo, training=False), input_signature=[tf.TensorSpec((1, side, side, 3), tf.float32)]
    )
    answer_photos(inputs, lambda photo: float(whole(inputs.pixels(photo)).numpy().item()))


if __name__ == "__main__":
    main(*sys.argv[1:])
