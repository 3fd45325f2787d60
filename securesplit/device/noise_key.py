"""The device's secret, by which `securesplit.privacy.noise` keys the noise of every photo, as a file.

It is 32 bytes in a file of mode 0600 in a folder of mode 0700, created once and never overwritten: under another secret
photos that were already released would get a second draw. So none is drawn where the folder's disk is not mounted, on
which there may be one (ADR 160).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from securesplit.device import secret_file
from securesplit.errors import CredentialError
from securesplit.privacy.noise import SECRET_BYTES
from securesplit.text import in_shell
from securesplit.user_folders import STATE_FLAGS, absolute, make_state_folder, state_folder, unmounted

SECRET_FILE: Final = "noise.key"  # noqa: S105 - a file name; the secret itself is drawn from the operating system
_WHAT = "noise secret"


def load_secret(folder: str | Path | None = None) -> bytes:
    """The device's secret, created on first use.

    Args:
        folder: where it lies; None: `state_folder`.

    Returns:
        32 bytes.

    Raises:
        ConfigError: `folder` is no path, such as an empty one.
        CredentialError: it cannot be created or read, is not 32 bytes, others can read it, or it would be drawn on the
            mount point of a disk that is not mounted.
    """
    place = state_folder(folder)
    check_mounted(absolute(place))
    file = make_state_folder(place) / SECRET_FILE
    return _checked(file, secret_file.load(file, _WHAT, lambda: secrets.token_bytes(SECRET_BYTES)))


def read_secret(folder: Path) -> bytes:
    """The secret that is in `folder`; none is created, nothing removed. Returns and raises as `load_secret`."""
    return _checked(folder / SECRET_FILE, secret_file.read(folder / SECRET_FILE, _WHAT))


def check_mounted(folder: Path) -> None:
    """That no secret would be drawn on the mount point of a disk on which there may be one.

    Args:
        folder: absolute.

    Raises:
        CredentialError: there is none in `folder`, and the disk that belongs there is not mounted.
    """
    if not os.path.lexists(folder / SECRET_FILE) and (disk := unmounted(folder)) is not None:
        message = f"the state folder {folder} belongs on the disk of {disk} (/etc/fstab), which is not mounted"
        hint = f"mount {in_shell(disk)}; a device that has no state there yet can name another folder {STATE_FLAGS}"
        raise CredentialError(message, hint=hint)


def _checked(file: Path, secret: bytes) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise CredentialError(
            f"the noise secret {file} holds {len(secret):,} bytes, not {SECRET_BYTES}",
            hint="restore it; a new one would give photos that were already released a second draw",
        )
    return secret
