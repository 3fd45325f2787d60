"""The same quadratic tail by TenSEAL's own vectors: ``mm``, ``square``, and its serialization, all in one process.

The parameters of CKKS are ours: TenSEAL's tutorials have twice the degree, and take longer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tenseal

from benchmarks.peers.peer import Inputs, answer_numbers

DEGREE, PRIME_BITS, SCALE_BITS = 8192, [38, 27, 27, 27, 27, 27, 45], 27


def main(_word: str, folder: str) -> None:
    """Answer vectors."""
    arrays = Inputs(Path(folder)).encrypted
    device = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=PRIME_BITS, n_threads=1)
    device.global_scale = 2**SCALE_BITS
    device.generate_galois_keys()
    worker = tenseal.context_from(device.serialize(save_secret_key=False), n_threads=1)
    first, second, last = (arrays[name].T.tolist() for name in ("first", "second", "last"))
    first_bias, second_bias = arrays["first_bias"].tolist(), arrays["second_bias"].tolist()
    last_bias = [float(arrays["last_bias"])]

    def answer(number: int) -> tuple[float, int, int]:
        features = arrays["features"][number % len(arrays["features"])]
        request = tenseal.ckks_vector(device, features.tolist()).serialize()
        hidden = tenseal.ckks_vector_from(worker, request).mm(first) + first_bias
        hidden = (hidden * hidden).mm(second) + second_bias
        reply = ((hidden * hidden).mm([[weight] for weight in last]) + last_bias).serialize()
        return tenseal.ckks_vector_from(device, reply).decrypt()[0], len(request), len(reply)

    answer_numbers(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
