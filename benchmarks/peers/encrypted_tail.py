"""Ours: 256 numbers encrypted, the quadratic tail evaluated on them, its answer decrypted, all in one process."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.peer import Inputs, answer_numbers
from securesplit.encrypted.device import DeviceKey
from securesplit.encrypted.tail import EncryptedTail, EvaluationKeys, QuadraticTail, answer_scale


def main(_word: str, folder: str) -> None:
    """Answer vectors."""
    inputs, device = Inputs(Path(folder)), DeviceKey()
    arrays = inputs.encrypted
    weights = {name: value for name, value in arrays.items() if name not in ("features", "last_bias")}
    worker = EncryptedTail(QuadraticTail(**weights, last_bias=float(arrays["last_bias"])))
    keys = EvaluationKeys(*device.evaluation_keys, device.layout)

    def answer(number: int) -> tuple[float, int, int]:
        request = device.encrypt(arrays["features"][number % len(arrays["features"])][None])
        reply = worker.answer(request, 1, keys)
        copies = device.decrypt(reply, 1, answer_scale(device.parameters))
        return float(copies[0, 0]), len(request), len(reply)

    answer_numbers(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
