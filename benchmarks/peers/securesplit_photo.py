"""Ours: photo file to answer by `securesplit.Client`, with one preset, from the worker of `securesplit_tail`."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from benchmarks.peers.peer import LOOPBACK, Inputs, answer_photos
from securesplit import Bundle, Client, Refusal


def main(preset: str, folder: str, port: str) -> None:
    """Answer photos; logits are undone from the calibrated probability."""
    inputs = Inputs(Path(folder))
    calibration = Bundle.load().preset(preset).calibration
    endpoint = f"tcp://{LOOPBACK}:{port}"
    with Client(endpoint, certs=inputs.folder / "certs", privacy=preset, state=inputs.folder / "state") as client:

        def answer(photo: Path) -> float:
            found = client.diagnose(photo, anyway=True)
            assert not isinstance(found, Refusal)
            odds = found.malignant / (1 - found.malignant)
            return (math.log(odds) - calibration.offset) / calibration.scale

        answer_photos(inputs, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
