"""A device encrypts, a worker computes, the device decrypts: the answer is the plain tail's, and the device's alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securesplit.encrypted import seal
from securesplit.encrypted.device import DeviceKey
from securesplit.encrypted.layout import Layout
from securesplit.encrypted.parameters import SHIPPED, Parameters
from securesplit.encrypted.tail import DROWNING, ERROR, EncryptedTail, EvaluationKeys, QuadraticTail, answer_scale
from securesplit_testing.ciphertexts import random_tail


def features(photos: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (photos, 256))


def read(device: DeviceKey, answer: bytes, photos: int) -> np.ndarray:
    return device.decrypt(answer, photos, answer_scale(SHIPPED))[:, 0]


@pytest.mark.parametrize("photos", [1, 2, 16])
def test_the_answer_is_the_plain_tail_s(
    photos: int, device: DeviceKey, worker: EncryptedTail, keys: EvaluationKeys
) -> None:
    x = features(photos)
    answer = worker.answer(device.encrypt(x), photos, keys)
    expected = worker.tail.plain(x)
    assert np.abs(expected).max() > 0.3
    np.testing.assert_allclose(read(device, answer, photos), expected, atol=ERROR)


def test_weights_of_either_sign_are_roots_of_a_square(
    device: DeviceKey, worker: EncryptedTail, keys: EvaluationKeys
) -> None:
    last = worker.tail.last
    assert (last < 0).any()
    assert (last > 0).any()
    for sign in (-1.0, 1.0):
        tail = replace(worker.tail, last=sign * np.abs(last))
        for photos in (1, 2):
            answer = EncryptedTail(tail).answer(device.encrypt(features(photos)), photos, keys)
            np.testing.assert_allclose(read(device, answer, photos), tail.plain(features(photos)), atol=ERROR)


class EverySlot(Layout):
    """Reads all that an answer holds."""

    def places(self, photos: int) -> np.ndarray:
        return np.arange(self.slots)[None]


def test_what_an_answer_holds_beside_the_logit_is_drowned(
    device: DeviceKey, worker: EncryptedTail, keys: EvaluationKeys
) -> None:
    """Sums over parts of the tail's rows are left there; two answers to one request differ in nothing else."""
    reader = DeviceKey(device.secret, EverySlot())
    request, scale = device.encrypt(features(1)), answer_scale(SHIPPED)
    slots = [reader.decrypt(worker.answer(request, 1, keys), 1, scale)[0] for _ in range(2)]
    is_logit = np.isin(np.arange(worker.layout.slots), worker.layout.places(1))
    np.testing.assert_allclose(slots[0][is_logit], slots[1][is_logit], atol=ERROR)
    for drawn in (slots[0][~is_logit], slots[1][~is_logit], (slots[0] - slots[1])[~is_logit] / np.sqrt(2)):
        assert np.std(drawn) == pytest.approx(DROWNING / np.sqrt(3), rel=0.05)


def test_large_features_hold_too(device: DeviceKey, worker: EncryptedTail, keys: EvaluationKeys) -> None:
    x = 3 * np.sign(features(1))
    answer = worker.answer(device.encrypt(x), 1, keys)
    expected = worker.tail.plain(x)
    assert read(device, answer, 1) == pytest.approx(expected, rel=5e-3, abs=ERROR)


def test_a_key_that_was_kept_reads_what_was_encrypted_before(
    device: DeviceKey, worker: EncryptedTail, keys: EvaluationKeys
) -> None:
    answer = worker.answer(device.encrypt(features(1)), 1, keys)
    again = DeviceKey(device.secret)
    np.testing.assert_allclose(read(again, answer, 1), worker.tail.plain(features(1)), atol=ERROR)


def test_another_device_reads_noise(device: DeviceKey, worker: EncryptedTail, keys: EvaluationKeys) -> None:
    answer = worker.answer(device.encrypt(features(1)), 1, keys)
    other = read(DeviceKey(), answer, 1)
    assert abs(other[0] - worker.tail.plain(features(1))[0]) > 0.5


def test_the_same_photo_never_makes_the_same_request(device: DeviceKey) -> None:
    first, second = (np.frombuffer(device.encrypt(features(1)), np.uint8) for _ in range(2))
    assert (first != second).mean() == pytest.approx(255 / 256, abs=0.002)


def test_keys_of_other_rotations_or_parameters_are_refused(device: DeviceKey) -> None:
    galois, relinearization = device.evaluation_keys
    other = Parameters(8192, (38, 27, 45), 27)
    with pytest.raises(ValueError, match="does not hold"):
        EvaluationKeys(galois, relinearization, Layout(128, 64, 4096))
    with pytest.raises(ValueError, match="does not hold"):
        EvaluationKeys(galois, relinearization, device.layout, other)
    for broken in (galois[:-1], galois[:1000], b"", relinearization):
        with pytest.raises(ValueError, match=r"not of SEAL|too short|does not hold"):
            EvaluationKeys(broken, relinearization, device.layout)


def test_a_tail_that_the_layout_does_not_reach_is_refused(keys: EvaluationKeys, device: DeviceKey) -> None:
    tail = random_tail()
    full = QuadraticTail(np.ones_like(tail.first), *list(vars(tail).values())[1:])
    with pytest.raises(ValueError, match="reaches none"):
        EncryptedTail(full).answer(device.encrypt(features(1)), 1, keys)
    with pytest.raises(ValueError, match="does not fit"):
        EncryptedTail(tail, Layout(128, 64, 4096))


def test_a_machine_without_memory_files_uses_temporary_ones(device: DeviceKey, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = device.secret
    monkeypatch.delattr(seal.os, "memfd_create")
    assert device.secret == secret or len(device.secret) > 1000
    assert DeviceKey(secret).secret
