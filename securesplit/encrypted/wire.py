"""Ciphertexts as bytes of fixed size, and back into the form in which SEAL reads them (Microsoft SEAL 4).

SEAL compresses what it writes, so its sizes vary, and it spends 8 bytes on a residue of 27 bits. Here a residue takes
the bits of its prime. A fresh ciphertext travels as its first polynomial and the seed of the second (SEAL's own seeded
form); an answer as both polynomials. Whatever arrives is checked by SEAL when it is loaded, residue by residue.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAGIC, HEADER_BYTES, MAJOR = 0xA15E, 16, 4
_HEADER = struct.Struct("<HBBBBHQ")
_PLAIN, _ZSTD = 0, 2
_FACTS = struct.Struct("<BQQQdQ")
"""Of a ciphertext: in NTT form, polynomials, degree, primes, scale, and a factor that only another scheme uses."""
_ID_BYTES = 32
SEED_BYTES = 64
SEED_HEADER_BYTES = HEADER_BYTES + 1
FRESH_NUMBERS_AT = HEADER_BYTES + _ID_BYTES + _FACTS.size + HEADER_BYTES + 8
"""Where the residues of a ciphertext begin that is not compressed."""
PLAINTEXT_NUMBERS_AT = _ID_BYTES + 2 * 8 + HEADER_BYTES + 8
"""Where the numbers of a plaintext, such as a secret key, begin: behind its parameters, their count and a scale."""
_BLAKE2 = 1
"""SEAL's number of the generator that a seed is for: Blake2xb."""


class WireError(ValueError):
    """These bytes are no ciphertext of these parameters."""


def packed_bytes(degree: int, prime_bits: Sequence[int]) -> int:
    """Size of a polynomial whose residues take the bits of their primes."""
    return degree * sum(prime_bits) // 8


def pack(residues: NDArray[np.uint64], prime_bits: Sequence[int]) -> bytes:
    """``(primes, degree)`` residues -> bytes, prime after prime, little-endian without a gap."""
    return b"".join(_packed(row, bits) for row, bits in zip(residues, prime_bits, strict=True))


def unpack(data: bytes, degree: int, prime_bits: Sequence[int]) -> NDArray[np.uint64]:
    """The inverse of `pack`.

    Raises:
        WireError: another number of bytes.
    """
    if len(data) != packed_bytes(degree, prime_bits):
        raise WireError(f"{len(data)} bytes are no polynomial")
    rows, first = [], 0
    for bits in prime_bits:
        size = degree * bits // 8
        rows.append(_unpacked(data[first : first + size], bits))
        first += size
    return np.stack(rows)


def _packed(row: NDArray[np.uint64], bits: int) -> bytes:
    each = np.unpackbits(row.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, count=bits, bitorder="little")
    return np.packbits(each.reshape(-1), bitorder="little").tobytes()


def _unpacked(data: bytes, bits: int) -> NDArray[np.uint64]:
    each = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").reshape(-1, bits)
    found = np.zeros((len(each), 8), np.uint8)
    found[:, : -(-bits // 8)] = np.packbits(each, axis=1, bitorder="little")
    return found.view("<u8")[:, 0].astype(np.uint64)


def minor_version(data: bytes) -> int:
    """The minor version of the SEAL that saved this; it loads what bears its own alone."""
    return int(_HEADER.unpack_from(data)[3])


def header(size: int, minor: int) -> bytes:
    """What SEAL writes before so many bytes that are not compressed."""
    return _HEADER.pack(MAGIC, HEADER_BYTES, MAJOR, minor, _PLAIN, 0, HEADER_BYTES + size)


def _stream(content: bytes, minor: int) -> bytes:
    return header(len(content), minor) + content


def to_seal(
    level: bytes, polynomials: NDArray[np.uint64], scale: float, seed: bytes | None = None, *, minor: int
) -> bytes:
    """What SEAL loads as a ciphertext.

    Args:
        level: SEAL's 32-byte name of the parameters that the ciphertext is at.
        polynomials: ``(polynomials, primes, degree)``; of a seeded ciphertext the first alone.
        scale: integer steps of 1.0.
        seed: of the second polynomial, 64 bytes.
        minor: version of the SEAL that will load it.
    """
    count, primes, degree = polynomials.shape
    numbers = struct.pack("<Q", polynomials.size) + polynomials.astype("<u8").tobytes()
    facts = _FACTS.pack(1, 2 if seed else count, degree, primes, scale, 1)
    generator = _stream(bytes((_BLAKE2,)) + seed, minor) if seed else b""
    return _stream(level + facts + _stream(numbers, minor) + generator, minor)


def from_seal(data: bytes) -> tuple[NDArray[np.uint64], bytes | None]:
    """The polynomials ``(polynomials, primes, degree)`` of a ciphertext that SEAL saved, and its seed.

    Only for what this process saved itself.

    Raises:
        WireError: another version of SEAL, which writes another form.
    """
    content = _content(data)
    _ntt, count, degree, primes, _scale, _factor = _FACTS.unpack_from(content, _ID_BYTES)
    first = _ID_BYTES + _FACTS.size + HEADER_BYTES
    (numbers,) = struct.unpack_from("<Q", content, first)
    first += 8
    held = np.frombuffer(content, "<u8", numbers, first).reshape(-1, primes, degree).astype(np.uint64)
    rest = content[first + 8 * numbers :]
    if len(held) == count:
        return held, None
    if len(held) != 1 or len(rest) != SEED_HEADER_BYTES + SEED_BYTES or rest[HEADER_BYTES] != _BLAKE2:
        raise WireError("this SEAL writes seeded ciphertexts in another form")
    return held, rest[-SEED_BYTES:]


def _content(data: bytes) -> bytes:
    """What SEAL saved in this process, whatever its size."""
    import zstandard

    body, is_compressed = _body(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(body) if is_compressed else body


def content(data: bytes, size: int) -> bytes:
    """What SEAL saved, `size` bytes; takes no more memory than that, whatever the bytes unpack to.

    Args:
        data: from anybody.
        size: that it must have, uncompressed.

    Raises:
        WireError: it is nothing of SEAL's, or of another size.
    """
    import zstandard

    body, is_compressed = _body(data)
    try:
        found = zstandard.ZstdDecompressor().stream_reader(body).read(size + 1) if is_compressed else body
    except zstandard.ZstdError:
        raise WireError("it is not compressed as SEAL does") from None
    if len(found) != size:
        raise WireError(f"it does not hold {size} bytes")
    return found


def _body(data: bytes) -> tuple[bytes, bool]:
    """What follows the header, and whether it is compressed."""
    if len(data) < HEADER_BYTES:
        raise WireError("it is too short")
    magic, own, major, minor, mode, _reserved, size = _HEADER.unpack_from(data)
    if (magic, own, size, major) != (MAGIC, HEADER_BYTES, len(data), MAJOR) or mode not in (_PLAIN, _ZSTD):
        raise WireError(f"it is of SEAL {major}.{minor}, or not of SEAL")
    return data[HEADER_BYTES:], mode == _ZSTD
