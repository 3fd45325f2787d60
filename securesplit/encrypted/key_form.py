"""The one form that evaluation keys may have, checked before SEAL sees them, so that they take the memory they should.

SEAL's serialized keys say themselves how many there are, and every part of them may be compressed: two megabytes can
unpack to gigabytes, as keys that SEAL accepts. A device sends keys for the rotations of its layout and no others, each
as SEAL writes a seeded ciphertext; so size and structure are known beforehand. What has another is refused, and what
is right is handed to SEAL uncompressed.

Microsoft SEAL 4: `KSwitchKeys::save_members`, an index of lists of public keys, each saved as a ciphertext.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securesplit.encrypted import wire

_COUNT = struct.Struct("<Q")


@dataclass(frozen=True)
class KeyForm:
    """What every set of keys of one scheme has in common.

    Args:
        level: SEAL's 32-byte name of the parameters that keys are at, special prime included.
        degree: of the ring.
        primes: of the modulus, the special one included; a key has a part for each other one.
        minor: version of the SEAL that will load them.
    """

    level: bytes
    degree: int
    primes: int
    minor: int

    @property
    def template(self) -> bytes:
        """A part of a key whose numbers and seed are zero."""
        zeros = np.zeros((1, self.primes, self.degree), np.uint64)
        return wire.to_seal(self.level, zeros, 1.0, bytes(wire.SEED_BYTES), minor=self.minor)

    def unpacked(self, data: bytes, places: Sequence[int], held: int) -> tuple[bytes, bytes]:
        """Keys as SEAL saved them -> the same, uncompressed, in two pieces.

        Args:
            data: from anybody.
            places: of the index that have a key, ascending.
            held: length of the index.

        Raises:
            WireError: they have another size or another structure.
        """
        template, parts = self.template, self.primes - 1
        size = len(self.level) + _COUNT.size * (1 + held) + len(places) * parts * len(template)
        content = wire.content(data, size)
        wanted = set(places)
        _require(content.startswith(self.level + _COUNT.pack(held)))
        at = len(self.level) + _COUNT.size
        for place in range(held):
            count = parts if place in wanted else 0
            _require(content[at : at + _COUNT.size] == _COUNT.pack(count))
            at += _COUNT.size
            for _ in range(count):
                _require(_is_like(memoryview(content)[at : at + len(template)], template))
                at += len(template)
        return wire.header(len(content), self.minor), content


def _is_like(part: memoryview, template: bytes) -> bool:
    """Whether a part of a key differs from `template` in numbers and seed alone."""
    before, between = wire.FRESH_NUMBERS_AT, len(template) - wire.SEED_BYTES - wire.SEED_HEADER_BYTES
    return (
        part[:before] == template[:before] and part[between : -wire.SEED_BYTES] == template[between : -wire.SEED_BYTES]
    )


def _require(holds: bool) -> None:  # noqa: FBT001  (reads as a sentence)
    if not holds:
        raise wire.WireError("these are no evaluation keys of these parameters")
