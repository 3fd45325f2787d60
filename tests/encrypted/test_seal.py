"""What the system refuses is no fault of the bytes: no key is called damaged, and no answer senseless."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed")

from securesplit.device.encryption_key import EncryptionKey, read_secret
from securesplit.encrypted.device import DeviceKey
from securesplit.errors import ConfigError, CredentialError
from securesplit_testing.descriptors import free_descriptors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    EncryptionKey(folder)
    return folder


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("free", [0, 1])
@pytest.mark.parametrize(
    "use",
    [
        lambda folder, key: key.encrypt(np.zeros((1, 256))),
        lambda folder, key: key.secret,
        lambda folder, key: DeviceKey().secret,
        lambda folder, key: read_secret(folder),
        lambda folder, key: EncryptionKey(folder),
    ],
    ids=["encrypt", "save", "draw", "read", "open"],
)
def test_too_few_descriptors_are_named(folder: Path, use: Callable[[Path, DeviceKey], object], free: int) -> None:
    """A key was called damaged, with the hint to remove it; SEAL's own error left the program's `diagnose`."""
    key = DeviceKey()
    with (
        free_descriptors(free),
        pytest.raises((ConfigError, CredentialError), match=r"Too many open files|no room for a key") as caught,
    ):
        use(folder, key)
    assert "damaged" not in caught.value.message
    use(folder, key)
