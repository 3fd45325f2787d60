"""Serve an engine of your own: the front keeps keys, sessions, queue and pool; the engine gets releases.

This one answers with the bundle's own tail, and adds to each logit what a study might want to try. It must be in a
module that a new process can import, which is why the engine is named as text.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit import Client
from securesplit.imaging.synthetic import draw_lesion
from securesplit.worker import EmbeddedWorker
from securesplit.worker.engine import LiteRTEngine
from securesplit.worker.served_model import ServedModel
from securesplit.worker.settings import EngineSpec


class ShiftedEngine:
    """The tail of a bundle, whose logits are shifted by a constant."""

    def __init__(self, bundle: str, shift: float) -> None:
        self._engine, self._shift = LiteRTEngine(bundle), shift

    def warm_up(self) -> None:
        """Run once on every kind of input."""
        self._engine.warm_up()

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        """Releases of one preset -> logits of malignant."""
        return self._engine(preset, releases) + np.float32(self._shift)


def main() -> None:
    """Ask the bundle's own tail and the shifted one about the same photo."""
    plain = ServedModel.from_bundle(None)
    engine = EngineSpec("own_worker:ShiftedEngine", {"bundle": plain.engine.options["bundle"], "shift": 2.0})
    engine = dataclasses.replace(engine, readable=(*plain.engine.readable, str(Path(__file__).parent)))
    for name, served in (("plain", plain), ("shifted", dataclasses.replace(plain, engine=engine))):
        with (
            EmbeddedWorker(served=served) as worker,
            tempfile.TemporaryDirectory() as state,
            Client(worker.endpoint, credentials=worker.client_credentials, state=state, privacy="compact") as client,
        ):
            print(f"{name}: malignant {client.diagnose(draw_lesion(7), anyway=True).malignant:.3f}")


if __name__ == "__main__":
    main()
