"""The whole network by LiteRT in one process, with the float16 weights and the one thread that ours has."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.peer import Inputs, answer_photos


def main(_word: str, folder: str) -> None:
    """Answer photos."""
    from ai_edge_litert.interpreter import Interpreter

    inputs = Inputs(Path(folder))
    interpreter = Interpreter(model_path=str(inputs.folder / "whole.tflite"), num_threads=int(inputs.facts["threads"]))
    interpreter.allocate_tensors()
    whole = interpreter.get_signature_runner("whole")
    answer_photos(inputs, lambda photo: float(whole(photo=inputs.pixels(photo))["logit"].item()))


if __name__ == "__main__":
    main(*sys.argv[1:])
