"""Evaluation keys have one form: what unpacks to more, or to something else, is refused before SEAL sees it."""

from __future__ import annotations

import resource
import struct
from collections.abc import Callable

import pytest
import zstandard

from securesplit.encrypted import wire
from securesplit.encrypted.device import DeviceKey
from securesplit.encrypted.layout import Layout
from securesplit.encrypted.parameters import SHIPPED
from securesplit.encrypted.tail import EvaluationKeys

PART = 458_946
"""Bytes of a part of a key: a seeded ciphertext of seven primes."""
INDEX_AT = 40
"""Where the index begins: after the parameters' name and its own length."""


@pytest.fixture(scope="module")
def galois(device: DeviceKey) -> bytes:
    """The device's Galois keys, uncompressed, without the outer header."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(device.evaluation_keys[0][wire.HEADER_BYTES :])


def first_part(galois: bytes) -> int:
    """Where the first part of the first key begins."""
    return INDEX_AT + 8 * next(n for n in range(SHIPPED.degree) if galois[INDEX_AT + 8 * n]) + 8


def plain(content: bytes, device: DeviceKey) -> bytes:
    return wire.header(len(content), device.evaluation_keys[0][3]) + content


def packed(pieces: list[bytes], device: DeviceKey) -> bytes:
    """As SEAL compresses them, whole."""
    compressor = zstandard.ZstdCompressor().compressobj()
    body = b"".join([*map(compressor.compress, pieces), compressor.flush()])
    head = bytearray(wire.header(len(body), device.evaluation_keys[0][3]))
    head[5] = 2
    return bytes(head) + body


def zeroed(part: bytes) -> bytes:
    """A part whose numbers take no room once they are compressed; SEAL accepts it."""
    numbers = PART - wire.FRESH_NUMBERS_AT - wire.SEED_HEADER_BYTES - wire.SEED_BYTES
    return part[: wire.FRESH_NUMBERS_AT] + bytes(numbers) + part[wire.FRESH_NUMBERS_AT + numbers :]


def more_keys(galois: bytes, device: DeviceKey) -> bytes:
    """For 600 rotations, which unpack to 3.3 GB in SEAL's memory."""
    at = first_part(galois)
    key = struct.pack("<Q", 6) + zeroed(galois[at : at + PART]) * 6
    return packed([galois[:INDEX_AT], *[key] * 600, bytes(8 * (SHIPPED.degree - 600))], device)


def compressed_inside(galois: bytes, device: DeviceKey) -> bytes:
    """The first part is compressed once more, within what is not."""
    at = first_part(galois)
    part = packed([zeroed(galois[at : at + PART])[wire.HEADER_BYTES :]], device)
    return plain(galois[:at] + part + galois[at + PART :], device)


def another_index(galois: bytes, device: DeviceKey) -> bytes:
    """The same size, and a key for a rotation that nothing needs."""
    at = first_part(galois) - 8
    key = galois[at : at + 8 + 6 * PART]
    return plain(galois[:at] + galois[at + len(key) : at + len(key) + 8] + key + galois[at + len(key) + 8 :], device)


def another_count(galois: bytes, device: DeviceKey) -> bytes:
    """A key that says that it has a trillion parts."""
    at = first_part(galois) - 8
    return plain(galois[:at] + struct.pack("<Q", 10**12) + galois[at + 8 :], device)


def another_field(galois: bytes, device: DeviceKey) -> bytes:
    """A part that says that it has three polynomials."""
    changed = bytearray(galois)
    changed[first_part(galois) + wire.HEADER_BYTES + 33] = 3
    return plain(bytes(changed), device)


@pytest.mark.parametrize("hostile", [more_keys, compressed_inside, another_index, another_count, another_field])
def test_keys_of_another_form_are_refused_in_little_memory(
    hostile: Callable[[bytes, DeviceKey], bytes], galois: bytes, device: DeviceKey
) -> None:
    data = hostile(galois, device)
    assert len(data) < 64 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(wire.WireError):
        EvaluationKeys(data, device.evaluation_keys[1], Layout(slots=SHIPPED.slots))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # kB


def test_a_relinearization_key_that_unpacks_to_more_is_refused(galois: bytes, device: DeviceKey) -> None:
    at = first_part(galois)
    key = struct.pack("<Q", 6) + zeroed(galois[at : at + PART]) * 6
    more = packed([galois[:32], struct.pack("<Q", 600), *[key] * 600], device)
    with pytest.raises(wire.WireError):
        EvaluationKeys(device.evaluation_keys[0], more, Layout(slots=SHIPPED.slots))


def test_what_is_not_compressed_is_taken_as_well(galois: bytes, device: DeviceKey) -> None:
    keys = EvaluationKeys(plain(galois, device), device.evaluation_keys[1], Layout(slots=SHIPPED.slots))
    assert keys.galois.has_key(3)
