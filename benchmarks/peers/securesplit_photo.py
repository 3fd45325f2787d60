"""Ours: photo file to answer by `securesplit.Client`, with one preset, from the worker of `securesplit_tail`.

The device is new each time: its state folder is empty, so a preset that needs a key draws one.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

from benchmarks.peers.peer import LOOPBACK, Inputs, answer_photos
from securesplit import Bundle, Client, Refusal


def main(preset: str, folder: str, port: str) -> None:
    """Answer photos; logits are undone from the calibrated probability."""
    inputs, endpoint = Inputs(Path(folder)), f"tcp://{LOOPBACK}:{port}"
    calibration = Bundle.load(inputs.bundle).preset(preset).calibration
    with (
        tempfile.TemporaryDirectory() as state,
        Client(endpoint, certs=inputs.folder / "certs", privacy=preset, state=state, model=inputs.bundle) as client,
    ):

        def answer(photo: Path) -> float:
            found = client.diagnose(photo, anyway=True)
            assert not isinstance(found, Refusal)
            odds = found.malignant / (1 - found.malignant)
            return (math.log(odds) - calibration.offset) / calibration.scale

        answer_photos(inputs, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
