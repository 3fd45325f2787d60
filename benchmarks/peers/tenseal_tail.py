"""The same quadratic tail by TenSEAL's own vectors: ``mm``, ``dot``, squares, serialization, all in one process.

The parameters of CKKS are ours: TenSEAL's tutorials have twice the degree, and take longer. After each multiplication
TenSEAL divides by a prime and then says that the scale is the round number again, though primes of 27 bits are up to
0.7 % smaller: each of the five levels makes what it holds that much larger. `gains` are the factors, which its matrices
take back, at no cost of time. ``mm`` needs its vector repeated in all slots, as encryption does it, but a bias that is
added as a list is added to the first repetition only: so biases are encrypted. Without both, a logit of 0.43 came out
as 0.45, and one of 0.50 as 0.44.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tenseal
from tenseal import sealapi

from benchmarks.peers.peer import Inputs, answer_numbers

DEGREE, PRIME_BITS, SCALE_BITS = 8192, [38, 27, 27, 27, 27, 27, 45], 27


def gains() -> list[float]:
    """By what each level multiplies what it holds, in the order in which they are spent."""
    primes = [prime.value() for prime in sealapi.CoeffModulus.Create(DEGREE, PRIME_BITS)]
    return [2**SCALE_BITS / prime for prime in primes[-2:0:-1]]


def main(_word: str, folder: str) -> None:
    """Answer vectors."""
    arrays = Inputs(Path(folder)).encrypted
    device = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=PRIME_BITS, n_threads=1)
    device.global_scale = 2**SCALE_BITS
    device.generate_galois_keys()
    worker = tenseal.context_from(device.serialize(save_secret_key=False), n_threads=1)
    levels = gains()
    first = (arrays["first"].T / levels[0]).tolist()
    second = (arrays["second"].T / np.prod(levels[1:3])).tolist()
    last = (arrays["last"] / np.prod(levels[3:])).tolist()
    first_bias, second_bias = (
        tenseal.ckks_vector(worker, arrays[name].tolist()) for name in ("first_bias", "second_bias")
    )
    last_bias = [float(arrays["last_bias"])]

    def answer(number: int) -> tuple[float, int, int]:
        features = arrays["features"][number % len(arrays["features"])]
        request = tenseal.ckks_vector(device, features.tolist()).serialize()
        hidden = tenseal.ckks_vector_from(worker, request).mm(first) + first_bias
        hidden = hidden.square().mm(second) + second_bias
        reply = (hidden.square().dot(last) + last_bias).serialize()
        return tenseal.ckks_vector_from(device, reply).decrypt()[0], len(request), len(reply)

    answer_numbers(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
