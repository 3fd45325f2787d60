"""A secret of the device as a file: drawn once, for its owner alone, and never overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from securesplit.atomic import create_once, sweep
from securesplit.errors import CredentialError
from securesplit.text import in_shell
from securesplit.user_folders import check_keeps_modes, mode_open_to_others


def load(file: Path, what: str, draw: Callable[[], bytes]) -> bytes:
    """The content of `file`, which is created on first use; of several processes at once, the first one's stays.

    What killed processes left of drafts in its folder is removed.

    Args:
        file: in a folder that exists; mode 0600.
        what: the secret is, for errors.
        draw: makes it.

    Raises:
        CredentialError: it cannot be created or read, or others can read it or could.
    """
    sweep(file.parent)
    try:
        if not file.exists():
            check_keeps_modes(file.parent)
            create_once(file, draw())
    except OSError as error:
        hint = "check the folder's owner and the free space"
        raise CredentialError(f"cannot write the {what} {file}: {error.strerror}", hint=hint) from error
    return read(file, what)


def read(file: Path, what: str) -> bytes:
    """The content of `file`, which is there; arguments and errors as `load`."""
    try:
        with file.open("rb") as stream:
            status, secret = os.fstat(stream.fileno()), stream.read()
    except OSError as error:
        raise CredentialError(
            f"cannot read the {what} {file}: {error.strerror}", hint="check who owns it, and the disk"
        ) from error
    if mode_open_to_others(status) is not None:
        raise CredentialError(f"the {what} {file} can be read by others", hint=f"chmod 600 {in_shell(file)}")
    return secret
