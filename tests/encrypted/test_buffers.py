"""SEAL's objects from bytes without a path: the same as from a path, and whatever is no such object is refused."""

from __future__ import annotations

import builtins
import os

import numpy as np
import pytest

from securesplit.encrypted import buffers, seal, wire
from securesplit.encrypted.device import DeviceKey, answer_bytes
from securesplit.encrypted.parameters import SHIPPED, Parameters
from securesplit.encrypted.tail import EncryptedTail, EvaluationKeys
from tests.encrypted.test_exchange import features


def test_a_ciphertext_is_the_one_that_a_path_gives(device: DeviceKey) -> None:
    request = device.encrypt(features(1))
    seed, rest = request[: wire.SEED_BYTES], request[wire.SEED_BYTES :]
    residues = wire.unpack(rest, SHIPPED.degree, SHIPPED.prime_bits[:-1])[None]
    by_path = seal.ciphertext(SHIPPED, 0, residues, SHIPPED.scale, seed)
    by_bytes = buffers.ciphertext(SHIPPED, 0, residues, SHIPPED.scale, seed)
    np.testing.assert_array_equal(buffers.residues(by_bytes), wire.from_seal(seal.saved(by_path))[0])
    assert by_bytes.scale == by_path.scale


def test_a_prepared_tail_opens_nothing(
    device: DeviceKey, worker: EncryptedTail, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.prepare()
    galois, relinearization = device.evaluation_keys
    request = device.encrypt(features(1))

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    for module, name in ((os, "open"), (os, "memfd_create"), (builtins, "open")):
        monkeypatch.setattr(module, name, fail)
    keys = EvaluationKeys(galois, relinearization, device.layout)
    assert len(worker.answer(request, 1, keys)) == answer_bytes(SHIPPED)


@pytest.mark.parametrize("broken", [b"", b"\0", bytes(range(256)) * 10])
def test_bytes_that_are_no_keys_are_refused(broken: bytes, device: DeviceKey) -> None:
    galois, relinearization = device.evaluation_keys
    for pair in ((broken, relinearization), (galois, broken)):
        with pytest.raises(ValueError, match=r"too short|not of SEAL"):
            EvaluationKeys(*pair, device.layout)


def test_keys_of_other_primes_are_refused(device: DeviceKey) -> None:
    other = Parameters(8192, (38, 27, 45), 27)
    with pytest.raises(ValueError, match="does not hold"):
        EvaluationKeys(*device.evaluation_keys, device.layout, other)


def test_keys_of_numbers_that_seal_refuses_are_refused(device: DeviceKey) -> None:
    galois, relinearization = device.evaluation_keys
    content = bytearray(wire.content(relinearization, 8 + 32 + 8 + 5 * 393_410))
    content[-200:-100] = b"\xff" * 100
    with pytest.raises(ValueError, match="SEAL refuses"):
        EvaluationKeys(galois, wire.header(len(content), relinearization[3]) + content, device.layout)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 1 << 20, (1 << 35) + 5])
def test_numbers_are_written_as_protocol_buffers_write_them(number: int) -> None:
    data = buffers._varint(number)
    assert all(byte & 0x80 for byte in data[:-1])
    assert data[-1] < 0x80
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data)) == number
