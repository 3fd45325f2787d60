"""What Triton's Python backend runs: the tail. Triton imports it in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = os.environ["PEER_PATH"].split(os.pathsep)  # the backend's Python pays no heed to PYTHONPATH

import numpy as np  # noqa: E402  (the environment's own; the stub was built for NumPy 1)
import triton_python_backend_utils as triton  # noqa: E402

from benchmarks.peers.peer import Inputs, Tail  # noqa: E402


class TritonPythonModel:
    """The name that the backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Once, with the model's configuration."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._tail = Tail(Inputs(Path(parameters["inputs"]["string_value"])))

    def execute(self, requests: list[Any]) -> list[Any]:
        """``release`` -> ``logit`` of each request; there is one unless Triton makes batches."""
        releases = [triton.get_input_tensor_by_name(request, "release").as_numpy() for request in requests]
        logits = self._tail.batch([release.tobytes() for release in releases])
        answers = [triton.Tensor("logit", np.array([[logit]], np.float32)) for logit in logits]
        return [triton.InferenceResponse([answer]) for answer in answers]
