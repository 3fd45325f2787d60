"""One device, one worker's tail and random features, for all tests here."""

from __future__ import annotations

import numpy as np
import pytest

from securesplit.encrypted.device import DeviceKey
from securesplit.encrypted.layout import Layout
from securesplit.encrypted.tail import EncryptedTail, EvaluationKeys, QuadraticTail

LAYOUT = Layout()


def random_tail(seed: int = 0) -> QuadraticTail:
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(LAYOUT.hidden, LAYOUT.features)) / np.sqrt(LAYOUT.features)
    _vectors, reached = LAYOUT.first_alone(first)
    second = rng.normal(size=(LAYOUT.hidden, LAYOUT.hidden)) / np.sqrt(LAYOUT.hidden)
    biases = [rng.normal(size=LAYOUT.hidden) * 0.1 for _ in range(2)]
    return QuadraticTail(first * reached, biases[0], second, biases[1], rng.normal(size=LAYOUT.hidden) / 8, 0.3)


@pytest.fixture(scope="session")
def device() -> DeviceKey:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    return DeviceKey()


@pytest.fixture(scope="session")
def keys(device: DeviceKey) -> EvaluationKeys:
    return EvaluationKeys(*device.evaluation_keys, device.layout)


@pytest.fixture(scope="session")
def worker(device: DeviceKey) -> EncryptedTail:
    return EncryptedTail(random_tail())
