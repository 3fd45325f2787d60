"""What `encrypted` rests on: a worker to which answers come back has the device's key, though each made sense.

The polynomials (0, c) are a ciphertext of c times the secret key, and the evaluation keys move its slots. So a worker
answers with a number that it chose and a little of the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from securesplit.encrypted import buffers, seal, wire
from securesplit.encrypted.parameters import SHIPPED
from securesplit.encrypted.tail import EncryptedTail
from securesplit_testing.ciphertexts import LAYOUT, random_tail
from securesplit_testing.encryption import device_key, evaluation_keys, give_key

pytest.importorskip("tenseal", reason="TenSEAL is not installed")
WORKER = "tcp://worker:5555"
DEGREE, SLOTS, PHOTOS = SHIPPED.degree, LAYOUT.slots, LAYOUT.batch
EXPONENTS = np.array(seal.galois_elements(range(SLOTS), DEGREE))
"""Slot j of a polynomial is its value at exp(πi / N) to the power of this."""
TURN = 2 - EXPONENTS % 4
"""What X^(N/2) multiplies slots by, but for i."""
PART = 13_000
"""Of the key in an answer, in steps of its scale: so little that copies of an answer differ by less than 0.05."""
ORDERS = [(turned, first) for turned in (False, True) for first in range(0, SLOTS, PHOTOS)]
"""Of 512 answers to 16 photos each: real or imaginary parts, and of which slots."""


def plausible(worker: EncryptedTail, logit: float, turned: bool, first: int) -> bytes:
    """An answer: a logit in every slot, and a little of the key's, which begins at slot `first`."""
    scale = worker._scales[2]
    residues = np.array([0, PART], np.uint64)[:, None, None] * np.ones((1, DEGREE), np.uint64)
    found: Any = seal.ciphertext(SHIPPED, -1, residues, scale)
    if turned:
        worker._evaluator.multiply_plain_inplace(found, worker._encoded(1j * TURN, 4, 1.0))
    for step in (1 << bit for bit in range(first.bit_length()) if first >> bit & 1):
        found = worker._rotated(found, step, evaluation_keys())
    worker._evaluator.add_plain_inplace(found, worker._encoded(np.full(SLOTS, logit), 4, scale))
    return b"".join(wire.pack(one, SHIPPED.prime_bits[:1]) for one in buffers.residues(found))


def key_from(excess: NDArray[np.float64]) -> NDArray[np.float64]:
    """The polynomial whose slots these are parts of, ``(512, 16)`` in the order of `ORDERS`."""
    real, imaginary = excess.reshape(2, SLOTS)
    values = np.zeros(2 * DEGREE, complex)
    values[EXPONENTS] = real - 1j * imaginary * TURN
    values[-EXPONENTS] = values[EXPONENTS].conj()
    return np.rint(np.fft.fft(values)[:DEGREE].real / DEGREE)


def residues_of(polynomial: NDArray[np.float64], worker: EncryptedTail) -> NDArray[np.uint64]:
    """As SEAL holds a key."""
    slots = 2 * DEGREE * np.fft.ifft(polynomial, 2 * DEGREE)[EXPONENTS]
    return numbers(seal.saved(worker._encoded(slots, 0, 1.0)), len(SHIPPED.prime_bits) - 1)


def numbers(saved: bytes, primes: int) -> NDArray[np.uint64]:
    content = wire.content(saved, wire.PLAINTEXT_NUMBERS_AT + 8 * primes * DEGREE)
    return np.frombuffer(content, "<u8", offset=wire.PLAINTEXT_NUMBERS_AT).reshape(primes, DEGREE)


def test_a_worker_that_gets_answers_back_gets_the_key(tmp_path: Path) -> None:
    """All of it from probabilities with all their digits, nearly all where they are rounded to a tenth of a percent."""
    key, worker = give_key(tmp_path), EncryptedTail(random_tail())
    chosen = np.random.default_rng(3).uniform(-0.5, 0.5, (len(ORDERS), 1))
    answers = [plausible(worker, float(logit), *order) for logit, order in zip(chosen[:, 0], ORDERS, strict=True)]
    said = 1 / (1 + np.exp(-np.stack([key.decrypt(answer, PHOTOS, WORKER) for answer in answers])))
    assert key.distrusted.found() == {}, "every one of them was taken for an answer"
    assert np.abs(np.log(said / (1 - said)) - chosen).max() < 0.05

    def found(came_back: NDArray[np.float64]) -> NDArray[np.float64]:
        return key_from((np.log(came_back / (1 - came_back)) - chosen) * worker._scales[2] / PART)

    exactly = found(said)
    assert np.array_equal(residues_of(exactly, worker), numbers(device_key().secret, len(SHIPPED.prime_bits))[:-1])
    assert np.mean(found(np.round(said, 3)) == exactly) > 0.9
    assert np.mean(found(np.full_like(said, 0.5)) == exactly) < 0.4, "what a guess has: a third"
