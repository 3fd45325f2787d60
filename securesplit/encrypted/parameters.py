"""How a ciphertext is made, and how hard it is to break: pure numbers, no library.

Source: Homomorphic Encryption Security Standard (HomomorphicEncryption.org, November 2018), table 2: ternary secret,
128 bits against attacks with a quantum computer, the stricter of its two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from securesplit.errors import ConfigError

MOST_MODULUS_BITS = {1024: 25, 2048: 51, 4096: 101, 8192: 202, 16384: 411, 32768: 827}
"""By degree of the ring: the largest modulus, special prime included, that leaves 128 bits of security."""


@dataclass(frozen=True)
class Parameters:
    """Parameters of CKKS.

    Args:
        degree: N of the ring Z[X]/(X^N + 1), a power of two.
        prime_bits: sizes of the modulus's primes. The first stays to the end and holds the answer, each of the next is
            spent by one multiplication, the last is only for switching keys.
        scale_bits: a number x travels as the integer round(x 2^scale_bits).

    Raises:
        ConfigError: the security standard does not promise 128 bits, or the numbers make no scheme.
    """

    degree: int
    prime_bits: tuple[int, ...]
    scale_bits: int

    def __post_init__(self) -> None:
        if len(self.prime_bits) < 2 or not all(20 <= bits <= 60 for bits in self.prime_bits):
            raise ConfigError(f"{self.prime_bits} are no sizes of primes", hint="two or more, each of 20 to 60 bits")
        most = MOST_MODULUS_BITS.get(self.degree)
        if most is None:
            raise ConfigError(f"no security is known of degree {self.degree}", hint=f"take one of {self._degrees()}")
        if sum(self.prime_bits) > most:
            raise ConfigError(
                f"a modulus of {sum(self.prime_bits)} bits at degree {self.degree} has less than 128 bits of security "
                "against quantum computers",
                hint=f"at most {most} bits, by the standard of HomomorphicEncryption.org",
            )
        if self.prime_bits[0] < self.scale_bits + 8:
            raise ConfigError("the first prime has no room for an answer", hint="8 bits more than the scale")

    @staticmethod
    def _degrees() -> str:
        return ", ".join(map(str, MOST_MODULUS_BITS))

    @property
    def slots(self) -> int:
        """Numbers that one ciphertext holds."""
        return self.degree // 2

    @property
    def depth(self) -> int:
        """Multiplications, one after the other, that a ciphertext bears."""
        return len(self.prime_bits) - 2

    @property
    def scale(self) -> float:
        """Integer steps of 1.0."""
        return math.ldexp(1.0, self.scale_bits)


SHIPPED = Parameters(8192, (38, 27, 27, 27, 27, 45), 27)
"""Two matrices, each squared: four multiplications."""

EARLIER_LEVEL = bytes.fromhex("e255fc9f772547959616bbc86bb335b415727d2a37ab1e1e51816259de5b0ff6")
EARLIER_PRIMES = 7
"""SEAL's name of the parameters before ADR 166, and how many primes they had at the same degree."""
