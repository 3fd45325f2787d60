"""One device, one worker's tail and random features, for all tests here."""

from __future__ import annotations

import pytest

from securesplit.encrypted.device import DeviceKey
from securesplit.encrypted.tail import EncryptedTail, EvaluationKeys
from securesplit_testing.ciphertexts import random_tail
from securesplit_testing.encryption import device_key, evaluation_keys


@pytest.fixture(scope="session")
def device() -> DeviceKey:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    return device_key()


@pytest.fixture(scope="session")
def keys(device: DeviceKey) -> EvaluationKeys:
    return evaluation_keys()


@pytest.fixture(scope="session")
def worker(device: DeviceKey) -> EncryptedTail:
    return EncryptedTail(random_tail())
