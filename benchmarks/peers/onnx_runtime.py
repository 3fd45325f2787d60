"""The whole network by ONNX Runtime in one process, in float32."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.peer import Inputs, answer_photos


def main(_word: str, folder: str) -> None:
    """Answer photos."""
    import onnxruntime

    inputs, options = Inputs(Path(folder)), onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(inputs.facts["threads"])
    session = onnxruntime.InferenceSession(str(inputs.folder / "whole.onnx"), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    answer_photos(inputs, lambda photo: float(session.run(None, {name: inputs.pixels(photo)})[0].item()))


if __name__ == "__main__":
    main(*sys.argv[1:])
