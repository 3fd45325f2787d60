"""The same tail by Concrete ML: TFHE on integers of few bits, compiled from a PyTorch module; all in one process.

Squares are table look-ups there, and weights and numbers are quantized. With four bits its answers correlate with the
network's by 0.60, with five by 0.92, with six by 0.99, each of which takes at least twice as long. Keys are
drawn before the first question.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from concrete.fhe import Value
from concrete.ml.torch.compile import compile_torch_model

from benchmarks.peers.peer import Inputs, answer_numbers

BITS = 4


class QuadraticTail(torch.nn.Module):  # type: ignore[misc]  # mypy skips torch
    """``(n, 256)`` -> ``(n, 1)``.

    Args:
        arrays: weights by name.
    """

    def __init__(self, arrays: dict[str, Any]) -> None:
        super().__init__()
        last = {"last": arrays["last"][None], "last_bias": arrays["last_bias"].reshape(1)}
        self.first, self.second, self.last = (
            _linear(*(torch.tensor((arrays | last)[key], dtype=torch.float32) for key in (name, f"{name}_bias")))
            for name in ("first", "second", "last")
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features -> logits."""
        x = self.first(x)
        x = self.second(x * x)
        return self.last(x * x)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
    return layer


def main(_word: str, folder: str) -> None:
    """Answer vectors."""
    arrays = Inputs(Path(folder)).encrypted
    features = arrays["features"].astype(np.float32)
    seen = np.random.default_rng(2).uniform(-1, 1, (200, features.shape[1])).astype(np.float32)
    network = compile_torch_model(QuadraticTail(arrays), seen, n_bits=BITS, rounding_threshold_bits=BITS)
    circuit = network.fhe_circuit
    circuit.keygen()

    def answer(number: int) -> tuple[float, int, int]:
        integers = network.quantize_input(features[number % len(features)][None])
        request = circuit.encrypt(integers).serialize()
        reply = circuit.run(Value.deserialize(request)).serialize()
        logit = network.dequantize_output(circuit.decrypt(Value.deserialize(reply)))
        return float(np.ravel(logit)[0]), len(request), len(reply)

    answer_numbers(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
