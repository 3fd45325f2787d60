"""The device's side: keys, encrypting features, decrypting answers."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.encrypted import seal, wire
from securesplit.encrypted.layout import Layout
from securesplit.encrypted.parameters import EARLIER_LEVEL, EARLIER_PRIMES, SHIPPED, Parameters


def request_bytes(parameters: Parameters) -> int:
    """Size of every encrypted request."""
    return wire.SEED_BYTES + wire.packed_bytes(parameters.degree, parameters.prime_bits[:-1])


def answer_bytes(parameters: Parameters) -> int:
    """Size of every encrypted answer: two polynomials, each of the one prime that is left."""
    return 2 * wire.packed_bytes(parameters.degree, parameters.prime_bits[:1])


def least_key_bytes(parameters: Parameters, layout: Layout) -> int:
    """What evaluation keys take at least, however they are compressed: their numbers are as good as random.

    A residue has more than b - 1 bits below a prime of b bits, and each key a polynomial for every prime but the last.
    """
    polynomial_bits = parameters.degree * sum(bits - 1 for bits in parameters.prime_bits)
    keys = len(layout.rotations) + 1
    return keys * (len(parameters.prime_bits) - 1) * polynomial_bits // 8


def is_of_earlier_parameters(secret: bytes) -> bool:
    """Whether `DeviceKey.secret` gave these bytes before ADR 166; no version since then can use them."""
    try:
        content = wire.content(secret, wire.PLAINTEXT_NUMBERS_AT + 8 * EARLIER_PRIMES * SHIPPED.degree)
    except wire.WireError:
        return False
    return content.startswith(EARLIER_LEVEL)


class DeviceKey:
    """A device's secret key, and what it gives away so that a worker can compute on its ciphertexts.

    Args:
        secret: as `secret` gave it before; a new one is drawn by default, from the system's randomness.
        layout: whose rotations the worker will need.
        parameters: of the scheme.

    Raises:
        ConfigError: TenSEAL is not installed.
        ValueError: `secret` is no key of these parameters.
    """

    def __init__(
        self, secret: bytes | None = None, layout: Layout | None = None, parameters: Parameters = SHIPPED
    ) -> None:
        self.parameters = parameters
        self.layout = layout or Layout(slots=parameters.slots)
        self._seal = seal.library()
        context = seal.context(parameters)
        if secret is None:
            with seal.drawing():
                self._generator = self._seal.KeyGenerator(context)
            self._key = self._generator.secret_key()
        else:
            self._key = seal.loaded(self._seal.SecretKey(), parameters, secret)
            self._generator = self._seal.KeyGenerator(context, self._key)
        self._encoder = self._seal.CKKSEncoder(context)
        self._encryptor = self._seal.Encryptor(context, self._key)
        self._decryptor = self._seal.Decryptor(context, self._key)

    @property
    def secret(self) -> bytes:
        """The secret key as SEAL serializes it; whoever has it reads every request of this device."""
        return seal.saved(self._key)

    @cached_property
    def evaluation_keys(self) -> tuple[bytes, bytes]:
        """Galois keys and the relinearization key, seeded, as SEAL serializes them: about 27 MB."""
        elements = seal.galois_elements(self.layout.rotations, self.parameters.degree)
        with seal.drawing():
            drawn = self._generator.create_galois_keys(elements), self._generator.create_relin_keys()
        return seal.saved(drawn[0]), seal.saved(drawn[1])

    def encrypt(self, features: NDArray[np.floating]) -> bytes:
        """``(photos, features)``, finite, -> a request of `request_bytes`; fresh randomness each time."""
        plain = self._seal.Plaintext()
        self._encoder.encode(self.layout.pack(features).tolist(), self.parameters.scale, plain)
        with seal.drawing():
            drawn = self._encryptor.encrypt_symmetric(plain)
        polynomials, seed = wire.from_seal(seal.saved(drawn))
        if seed is None:
            raise wire.WireError("this SEAL wrote a fresh ciphertext without its seed")
        return seed + wire.pack(polynomials[0], self.parameters.prime_bits[:-1])

    def decrypt(self, answer: bytes, photos: int, scale: float) -> NDArray[np.float64]:
        """An answer of `answer_bytes` -> ``(photos, copies)`` logits: every copy that its ciphertext holds of each.

        They differ by the errors of encryption alone, where the answer was computed from a request of this key.

        Args:
            answer: as `tail.EncryptedTail.answer` gives it.
            photos: how many were asked about in that request.
            scale: of the answer, `tail.answer_scale`.

        Raises:
            WireError: these bytes are no answer.
        """
        bits = self.parameters.prime_bits[:1]
        half = answer_bytes(self.parameters) // 2
        halves = [wire.unpack(part, self.parameters.degree, bits) for part in (answer[:half], answer[half:])]
        if not halves[1].any():
            raise wire.WireError("it is not encrypted")
        ciphertext = seal.ciphertext(self.parameters, -1, np.stack(halves), scale)
        plain = self._seal.Plaintext()
        self._decryptor.decrypt(ciphertext, plain)
        slots: Any = self._encoder.decode_double(plain)
        return np.asarray(slots, np.float64)[self.layout.places(photos)]
