"""The device's secret, by which `securesplit.privacy.noise` keys the noise of every photo, as a file.

It is 32 bytes in a file of mode 0600 in a folder of mode 0700, created once and never overwritten: under another secret
photos that were already released would get a second draw.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from securesplit.device import secret_file
from securesplit.errors import CredentialError
from securesplit.privacy.noise import SECRET_BYTES
from securesplit.user_folders import make_state_folder, state_folder

SECRET_FILE: Final = "noise.key"  # noqa: S105 - a file name; the secret itself is drawn from the operating system
_WHAT = "noise secret"


def load_secret(folder: str | Path | None = None) -> bytes:
    """The device's secret, created on first use.

    Args:
        folder: where it lies; None: `state_folder`.

    Returns:
        32 bytes.

    Raises:
        CredentialError: it cannot be created or read, is not 32 bytes, or others can read it.
    """
    file = make_state_folder(state_folder() if folder is None else folder) / SECRET_FILE
    return _checked(file, secret_file.load(file, _WHAT, lambda: secrets.token_bytes(SECRET_BYTES)))


def read_secret(folder: Path) -> bytes:
    """The secret that is in `folder`; none is created, nothing removed. Returns and raises as `load_secret`."""
    return _checked(folder / SECRET_FILE, secret_file.read(folder / SECRET_FILE, _WHAT))


def _checked(file: Path, secret: bytes) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise CredentialError(
            f"the noise secret {file} holds {len(secret)} bytes, not {SECRET_BYTES}",
            hint="restore it; a new one would give photos that were already released a second draw",
        )
    return secret
