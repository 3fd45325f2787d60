"""zlib streams (RFC 1950) from untrusted files: inflated within a bound, or checked without being kept."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

MAX_METADATA_BYTES = 4 * 2**20  # inflated; as much as the largest colour profile
_STEP_BYTES = 2**20


def inflate(packed: bytes) -> bytes:
    """What zlib has packed, if that is whole and at most `MAX_METADATA_BYTES`; else nothing."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(packed, MAX_METADATA_BYTES)
    except zlib.error:
        return b""
    return plain if inflater.eof else b""


def whole_bytes(packed: bytes, most: int) -> int | None:
    """How many bytes a stream inflates to, without keeping them.

    Returns:
        None where it does not end where it says, its checksum fails, or there are more than `most`.
    """
    inflater, found = zlib.decompressobj(), 0
    try:
        while packed and not inflater.eof and found <= most:
            found += len(inflater.decompress(packed, _STEP_BYTES))
            packed = inflater.unconsumed_tail
    except zlib.error:
        return None
    return found if inflater.eof and found <= most else None


def inflated_bytes(parts: Iterable[bytes], most: int) -> int:
    """How many bytes a stream inflates to, counted up to `most`; nothing is kept."""
    inflater, found = zlib.decompressobj(), 0
    for part in parts:
        packed = part
        while packed and found < most and not inflater.eof:
            found += len(inflater.decompress(packed, _STEP_BYTES))
            packed = inflater.unconsumed_tail
    return found + len(inflater.flush())
