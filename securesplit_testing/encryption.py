"""One device's keys for the preset ``encrypted``, drawn once a process."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from securesplit.device import encryption_key
from securesplit.device.encryption_key import EncryptionKey
from securesplit.encrypted import seal
from securesplit.encrypted.device import DeviceKey
from securesplit.encrypted.messages import CHUNK_BYTES, KeyChunk
from securesplit.encrypted.tail import EvaluationKeys
from securesplit.model import Bundle
from securesplit.model.encrypted_preset import PRESET
from securesplit.user_folders import make_state_folder
from securesplit_testing.ciphertexts import LAYOUT


@functools.cache
def device_key() -> DeviceKey:
    """The device's key."""
    return DeviceKey()


@functools.cache
def evaluation_keys() -> EvaluationKeys:
    """What it gave away, as a worker holds it."""
    return EvaluationKeys(*device_key().evaluation_keys, LAYOUT)


class _Earlier(NamedTuple):
    """The parameters before ADR 166, which `securesplit.encrypted.parameters.Parameters` refuses by now."""

    degree: int = 8192
    prime_bits: tuple[int, ...] = (38, 27, 27, 27, 27, 27, 45)


@functools.cache
def earlier_secret() -> bytes:
    """What `encryption.key` of an earlier version holds."""
    return seal.saved(seal.library().KeyGenerator(seal.context(_Earlier())).secret_key())


def encrypted_bundle() -> Bundle | None:
    """The default bundle, where it has the preset ``encrypted``."""
    bundle = Bundle.load()
    return bundle if PRESET in bundle.presets else None


def give_key(folder: Path) -> EncryptionKey:
    """A device whose state folder holds that key and its evaluation keys, so that none are drawn."""
    for name, content in _files().items():
        file = make_state_folder(folder) / name
        file.write_bytes(content)
        file.chmod(0o600)
    return EncryptionKey(folder)


def chunk_of(blob: bytes, digest: bytes, offset: int) -> KeyChunk:
    """The chunk of a blob of keys that begins at `offset`.

    Raises:
        MessageError: none begins there.
    """
    return KeyChunk(digest, offset, len(blob), blob[offset : offset + CHUNK_BYTES])


@functools.cache
def _files() -> dict[str, bytes]:
    secret = device_key().secret
    owned = encryption_key.file_content(secret, device_key().evaluation_keys)
    return {encryption_key.KEY_FILE: secret, encryption_key.EVALUATION_FILE: owned}
