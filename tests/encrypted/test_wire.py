"""Residues as bytes: nothing lost, sizes fixed, and whatever is no ciphertext is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securesplit.encrypted import wire
from securesplit.encrypted.device import DeviceKey, answer_bytes, request_bytes
from securesplit.encrypted.parameters import SHIPPED
from securesplit.encrypted.tail import EncryptedTail, EvaluationKeys


@given(st.integers(0, 2**32), st.lists(st.integers(20, 60), min_size=1, max_size=4))
def test_packing_loses_nothing(seed: int, bits: list[int]) -> None:
    rng = np.random.default_rng(seed)
    residues = np.stack([rng.integers(0, 1 << size, 64, dtype=np.uint64) for size in bits])
    data = wire.pack(residues, bits)
    assert len(data) == wire.packed_bytes(64, bits)
    np.testing.assert_array_equal(wire.unpack(data, 64, bits), residues)
    with pytest.raises(wire.WireError):
        wire.unpack(data + b"\0", 64, bits)


def test_requests_and_answers_have_fixed_sizes(device: DeviceKey, worker: EncryptedTail, keys: EvaluationKeys) -> None:
    assert request_bytes(SHIPPED) <= 150_000
    for photos in (1, 3, 16):
        request = device.encrypt(np.full((photos, 256), 0.5))
        assert len(request) == request_bytes(SHIPPED)
        assert len(worker.answer(request, photos, keys)) == answer_bytes(SHIPPED)


def test_a_residue_that_is_not_below_its_prime_is_refused(worker: EncryptedTail, keys: EvaluationKeys) -> None:
    hostile = b"\xff" * request_bytes(SHIPPED)
    with pytest.raises(wire.WireError, match="SEAL refuses"):
        worker.answer(hostile, 1, keys)


@pytest.mark.parametrize(
    "changed",
    [
        lambda content, seed: content[: -len(seed) - 1] + b"\2" + seed,  # another generator: SHAKE256
        lambda content, _seed: content[:-1],
        lambda content, _seed: content + b"\0",
        lambda content, seed: content[: -len(seed) - 1 - wire.HEADER_BYTES],
    ],
)
def test_a_seed_that_a_worker_would_read_otherwise_is_not_sent(changed: Callable[[bytes, bytes], bytes]) -> None:
    """It travels without a word of which generator it is for."""
    first, seed = np.arange(16, dtype=np.uint64).reshape(1, 2, 8), bytes(range(wire.SEED_BYTES))
    saved = wire.to_seal(bytes(32), first, 2.0**20, seed, minor=1)
    polynomials, found = wire.from_seal(saved)
    np.testing.assert_array_equal(polynomials, first)
    assert found == seed
    other = changed(saved[wire.HEADER_BYTES :], seed)
    with pytest.raises(wire.WireError, match="another form"):
        wire.from_seal(wire.header(len(other), 1) + other)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 8, 15])
def test_a_header_of_another_kind_is_refused(at: int) -> None:
    """Magic, its own size, major version, way of compression and the size of all, where one bit differs."""
    saved = bytearray(wire.header(4, 1) + b"keys")
    assert wire.content(bytes(saved), 4) == b"keys"
    saved[at] ^= 1
    with pytest.raises(wire.WireError, match="not of SEAL"):
        wire.content(bytes(saved), 4)


@pytest.mark.parametrize("size", [0, 1, request_bytes(SHIPPED) - 1, request_bytes(SHIPPED) + 1])
def test_another_size_is_refused(size: int, worker: EncryptedTail, keys: EvaluationKeys) -> None:
    with pytest.raises(wire.WireError, match="no request"):
        worker.answer(bytes(size), 1, keys)


def test_an_answer_of_another_size_or_with_nonsense_in_it_is_refused(device: DeviceKey) -> None:
    for answer in (b"", b"\xff" * answer_bytes(SHIPPED), bytes(answer_bytes(SHIPPED) - 2)):
        with pytest.raises(wire.WireError):
            device.decrypt(answer, 1, 2.0**27)
