"""Files that a command is to write: refused before the work that makes them, where they cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from securesplit.errors import ConfigError


def check_writable(target: Path, flag: str, *, makes_parents: bool = False) -> None:
    """Refuse a file that could not be written, as far as can be told without writing it.

    Args:
        target: the file, or a folder that is not there yet.
        flag: that named it, such as ``--out``.
        makes_parents: folders above it that are missing are made.

    Raises:
        ConfigError: it is a folder, is in none, or the system does not let this user write there.
    """
    if (code := _obstacle(target, makes_parents=makes_parents)) is not None:
        raise ConfigError(f"cannot write {target} ({os.strerror(code)})", hint=f"choose another {flag}")


def check_holds_no_photo(target: Path, flag: str) -> None:
    """Refuse to write over a photo, as where a shell has put the names of several in the place of ``*.jpg``.

    Args:
        target: what is to be written, and is no photo itself.
        flag: that named it, such as ``--out``.

    Raises:
        ConfigError: there is a file which looks like a photo.
    """
    from securesplit.imaging.listing import is_photo

    if target.is_file() and is_photo(str(target)):
        raise _overwritten(target, flag)


def check_is_other(target: Path, flag: str, photo: Path) -> None:
    """Refuse to write over the photo that is read, under whatever name.

    Raises:
        ConfigError: both are one file.
    """
    with contextlib.suppress(OSError):  # one of them is not there, or cannot be looked at
        if target.samefile(photo):
            raise _overwritten(target, flag)


def _overwritten(target: Path, flag: str) -> ConfigError:
    return ConfigError(f"{target} is a photo, and would be overwritten", hint=f"choose another {flag}")


def _obstacle(target: Path, *, makes_parents: bool) -> int | None:
    """The error number that writing would end with."""
    if target.is_dir():
        return errno.EISDIR
    if target.exists():
        return None if os.access(target, os.W_OK) else errno.EACCES
    folder = target.parent
    while makes_parents and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return errno.ENOTDIR if folder.exists() else errno.ENOENT
    return None if os.access(folder, os.W_OK | os.X_OK) else errno.EACCES
