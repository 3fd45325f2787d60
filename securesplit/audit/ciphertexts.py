"""What an attacker reads of a ciphertext: `BLOCKS` means of its bytes, which is what it holds beside the seed."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.setting import Releases
from securesplit.encrypted import wire
from securesplit.encrypted.device import DeviceKey
from securesplit.model.encrypted_preset import FEATURES
from securesplit.privacy.release import ReleaseSpec, from_grid

BLOCKS = FEATURES
BYTE_MEAN, BYTE_DEVIATION = 127.5, np.sqrt((256**2 - 1) / 12)
"""Of bytes that are all equally likely, by which features are brought to zero and one."""


@cache
def device_key() -> DeviceKey:
    """The key under which targets and auxiliary photos are encrypted, made for this audit.

    Raises:
        ConfigError: TenSEAL is not installed.
    """
    return DeviceKey()


def features(ciphertext: bytes) -> NDArray[np.float32]:
    """What an attacker reads of a request, ``(BLOCKS,)``: the mean of each block, of variance one for random bytes."""
    polynomial = np.frombuffer(ciphertext, np.uint8, offset=wire.SEED_BYTES)
    size = len(polynomial) // BLOCKS
    means = polynomial[: BLOCKS * size].reshape(BLOCKS, size).mean(1)
    return np.asarray((means - BYTE_MEAN) / (BYTE_DEVIATION / np.sqrt(size)), np.float32)


def encrypted(grids: NDArray[np.integer], spec: ReleaseSpec) -> Releases:
    """`features` of a fresh ciphertext of each photo's integers, ``(n, 256)`` -> ``(n, BLOCKS)``."""
    key = device_key()
    return np.stack([features(key.encrypt(from_grid(grid, spec)[None])) for grid in grids])
