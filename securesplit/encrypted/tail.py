"""The worker's side: a quadratic tail, evaluated on a ciphertext that nobody here can read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.encrypted import buffers, seal, wire
from securesplit.encrypted.device import request_bytes
from securesplit.encrypted.layout import Layout, Vector
from securesplit.encrypted.parameters import SHIPPED, Parameters

Matrix = NDArray[np.float64]
Ciphertext = Any

ERROR = 3e-3
"""What encryption changes a logit by at most. With the shipped tail it has a standard deviation of 0.0005 for a lone
photo (the largest of 300: 0.002), and of 0.00013 for one of several."""
DROWNING = 4096.0
"""What an answer holds beside the logit lies under random numbers up to this size; the last prime has room for them."""


@dataclass(frozen=True)
class QuadraticTail:
    """``logit = last · (second @ (first @ x + first_bias)² + second_bias)² + last_bias``.

    Args:
        first: ``(hidden, features)``.
        first_bias: ``(hidden,)``.
        second: ``(hidden, hidden)``.
        second_bias: ``(hidden,)``.
        last: ``(hidden,)``.
        last_bias: a number.
    """

    first: Matrix
    first_bias: Matrix
    second: Matrix
    second_bias: Matrix
    last: Matrix
    last_bias: float

    def plain(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """``(photos, features)`` -> ``(photos,)`` logits, without any encryption."""
        hidden = np.square(features @ self.first.T + self.first_bias)
        answer: NDArray[np.float64] = np.square(hidden @ self.second.T + self.second_bias) @ self.last + self.last_bias
        return answer


class EvaluationKeys:
    """What a device gave away so that its ciphertexts can be computed on.

    Args:
        galois: Galois keys, as `DeviceKey.evaluation_keys` gives them.
        relinearization: likewise the relinearization key.
        layout: whose rotations they must be for, and for no others.
        parameters: of the scheme.

    Raises:
        ValueError: they are no such keys, of other parameters, or not for these rotations.
    """

    def __init__(self, galois: bytes, relinearization: bytes, layout: Layout, parameters: Parameters = SHIPPED) -> None:
        elements = seal.galois_elements(layout.rotations, parameters.degree)
        self.galois, self.relinearization = buffers.evaluation_keys(parameters, galois, relinearization, elements)


def answer_scale(parameters: Parameters) -> float:
    """Integer steps of 1.0 in an answer: the scale was squared twice, and divided by a prime after each."""
    primes = seal.primes(parameters)
    once = parameters.scale**2 / primes[-2]
    return once**2 / primes[-4]


class EncryptedTail:
    """A tail, encoded once; computes answers for any device that gave its evaluation keys.

    Args:
        tail: whose `first` is zero where `Layout.first_alone` does not reach.
        layout: of the ciphertexts.
        parameters: of the scheme; `Parameters.depth` of four.

    Raises:
        ConfigError: TenSEAL is not installed.
        ValueError: the tail does not fit the layout.
    """

    def __init__(self, tail: QuadraticTail, layout: Layout | None = None, parameters: Parameters = SHIPPED) -> None:
        self.parameters = parameters
        self.layout = layout or Layout(slots=parameters.slots)
        if tail.first.shape != (self.layout.hidden, self.layout.features):
            raise ValueError(f"a tail of {tail.first.shape} does not fit {self.layout}")
        self.tail = tail
        self._seal = seal.library()
        context = seal.context(parameters)
        self._encoder, self._evaluator = self._seal.CKKSEncoder(context), self._seal.Evaluator(context)
        primes, scale = seal.primes(parameters), parameters.scale
        self._spent = [float(prime) for prime in reversed(primes[1:])]
        """The prime that the first, second... multiplication spends: a plaintext at its scale leaves a ciphertext's."""
        self._scales = (scale, scale**2 / self._spent[1], answer_scale(parameters))

    def answer(self, request: bytes, photos: int, keys: EvaluationKeys) -> bytes:
        """The encrypted logits of an encrypted request.

        Args:
            request: as `DeviceKey.encrypt` gives it.
            photos: how many it holds; one lies alone, several in a batch.
            keys: of the device that sent it.

        Raises:
            WireError: the request is no ciphertext of these parameters.
        """
        fresh = self._parse(request)
        result = self._alone(fresh, keys) if photos == 1 else self._batch(fresh, keys)
        return b"".join(wire.pack(one, self.parameters.prime_bits[:1]) for one in buffers.residues(result))

    def prepare(self) -> None:
        """Encode the tail and open what is needed now; from then on this process opens no file."""
        buffers.prepare(self.parameters)
        self._plain_alone, self._plain_batch  # noqa: B018  (kept once they were computed)

    def _parse(self, request: bytes) -> Ciphertext:
        if len(request) != request_bytes(self.parameters):
            raise wire.WireError(f"{len(request)} bytes are no request")
        seed, rest = request[: wire.SEED_BYTES], request[wire.SEED_BYTES :]
        residues = wire.unpack(rest, self.parameters.degree, self.parameters.prime_bits[:-1])
        return buffers.ciphertext(self.parameters, 0, residues[None], self.parameters.scale, seed)

    def _alone(self, x: Ciphertext, keys: EvaluationKeys) -> Ciphertext:
        first, first_bias, second, second_bias = self._plain_alone
        turned = [x, *(self._rotated(x, i, keys) for i in range(1, self.layout.stride))]
        hidden = self._rescaled(self._products(turned, first), self._scales[0])
        self._summed(hidden, (*self.layout.copies, *self.layout.folds), keys)
        self._squared(hidden, first_bias, self._scales[1], keys)
        self._multiplied(hidden, second, self._scales[1])
        self._summed(hidden, self.layout.row, keys)
        self._squared(hidden, second_bias, self._scales[2], keys)
        self._summed(hidden, self.layout.rows, keys)
        self._evaluator.add_plain_inplace(hidden, self._last_alone())
        return hidden

    def _batch(self, x: Ciphertext, keys: EvaluationKeys) -> Ciphertext:
        first, first_bias, second, second_bias, last_bias = self._plain_batch
        wide = self.layout.batch
        hidden = self._rescaled(self._by_diagonals(x, first, keys), self._scales[0])
        self._summed(hidden, [wide * step for step in self.layout.folds], keys)
        self._squared(hidden, first_bias, self._scales[1], keys)
        hidden = self._rescaled(self._by_diagonals(hidden, second, keys), self._scales[1])
        self._squared(hidden, second_bias, self._scales[2], keys)
        self._summed(hidden, [wide * step for step in self.layout.row], keys)
        self._evaluator.add_plain_inplace(hidden, last_bias)
        return hidden

    def _by_diagonals(self, x: Ciphertext, diagonals: list[list[Any]], keys: EvaluationKeys) -> Ciphertext:
        wide, baby = self.layout.batch, self.layout.baby
        turned = [x, *(self._rotated(x, i * wide, keys) for i in range(1, baby))]
        total = self._products(turned, diagonals[0])
        for g, of_step in enumerate(diagonals[1:], 1):
            inner = self._rotated(self._products(turned, of_step), g * baby * wide, keys)
            self._evaluator.add_inplace(total, inner)
        return total

    def _products(self, ciphertexts: Sequence[Ciphertext], plaintexts: Sequence[Any]) -> Ciphertext:
        total = None
        for ciphertext, plaintext in zip(ciphertexts, plaintexts, strict=True):
            product = self._seal.Ciphertext()
            self._evaluator.multiply_plain(ciphertext, plaintext, product)
            if total is None:
                total = product
            else:
                self._evaluator.add_inplace(total, product)
        return total

    def _rotated(self, x: Ciphertext, steps: int, keys: EvaluationKeys) -> Ciphertext:
        turned = self._seal.Ciphertext()
        self._evaluator.rotate_vector(x, steps, keys.galois, turned)
        return turned

    def _summed(self, x: Ciphertext, steps: Sequence[int], keys: EvaluationKeys) -> None:
        for step in steps:
            self._evaluator.add_inplace(x, self._rotated(x, step, keys))

    def _multiplied(self, x: Ciphertext, plaintext: Any, scale: float) -> None:
        self._evaluator.multiply_plain_inplace(x, plaintext)
        self._rescaled(x, scale)

    def _squared(self, x: Ciphertext, bias: Any, scale: float, keys: EvaluationKeys) -> None:
        self._evaluator.add_plain_inplace(x, bias)
        self._evaluator.square_inplace(x)
        self._evaluator.relinearize_inplace(x, keys.relinearization)
        self._rescaled(x, scale)

    def _rescaled(self, x: Ciphertext, scale: float) -> Ciphertext:
        self._evaluator.rescale_to_next_inplace(x)
        x.scale = scale  # exact but for the last bits of a double, which SEAL compares
        return x

    def _encoded(self, vector: Vector, level: int, scale: float) -> Any:
        plain = self._seal.Plaintext()
        self._encoder.encode(vector.tolist(), seal.levels(self.parameters)[level], scale, plain)
        return plain

    def _last_alone(self) -> Any:
        """The last bias where the answer is, and fresh random numbers everywhere else.

        Elsewhere sums over parts of two rows are left, which are the tail's own: no mask is multiplied over them, so
        they drown.
        """
        drawn = np.frombuffer(os.urandom(8 * self.layout.slots), np.int64) * (DROWNING / 2.0**63)
        drawn[self.layout.places(1)] = self.tail.last_bias
        return self._encoded(drawn, 4, self._scales[2])

    @cached_property
    def _rooted(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Second matrix and bias, each unit times a root of its last weight, so that squares need only be added.

        A slot holds a complex number; the root of a negative weight is imaginary, and its square is negative.
        """
        roots = np.sqrt(self.tail.last.astype(complex))
        return roots[:, None] * self.tail.second, roots * self.tail.second_bias

    @cached_property
    def _plain_alone(self) -> tuple[Any, ...]:
        layout, tail, spent = self.layout, self.tail, self._spent
        second, second_bias = self._rooted
        vectors, reached = layout.first_alone(tail.first)
        if np.any(tail.first[~reached]):
            raise ValueError("the first matrix has weights where the layout reaches none")
        return (
            [self._encoded(vector, 0, spent[0]) for vector in vectors],
            self._encoded(layout.per_unit_alone(tail.first_bias, first=True), 1, self._scales[0]),
            self._encoded(layout.second_alone(second), 2, spent[2]),
            self._encoded(layout.per_unit_alone(second_bias, first=False), 3, self._scales[1]),
        )

    @cached_property
    def _plain_batch(self) -> tuple[Any, ...]:
        layout, tail, spent = self.layout, self.tail, self._spent
        second, second_bias = self._rooted
        return (
            [[self._encoded(vector, 0, spent[0]) for vector in step] for step in layout.diagonals(tail.first)],
            self._encoded(layout.per_unit_batch(tail.first_bias), 1, self._scales[0]),
            [[self._encoded(vector, 2, spent[2]) for vector in step] for step in layout.diagonals(second)],
            self._encoded(layout.per_unit_batch(second_bias), 3, self._scales[1]),
            self._encoded(np.full(layout.slots, tail.last_bias), 4, self._scales[2]),
        )
