"""Who may read and change the files of a certs folder: the one rule, for every file that is read from it (ADR 065).

- A file or folder belongs to the user that runs securesplit, or to root.
- Nobody else may change a file: no write permission for its group or for others. Likewise a folder, unless it is sticky
  (as Kubernetes mounts secrets): then others cannot replace what is in it, and what they add is not theirs to own.
- A key can be read by its owner alone. One exception: a key of root's, which this process is not, may be readable by a
  group, since that is how root lends it (a Kubernetes secret with ``fsGroup``, Debian's group ``ssl-cert``).

It holds for what links lead to. Permissions of Windows are not looked at.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from securesplit import user_folders
from securesplit.errors import CredentialError
from securesplit.text import in_shell

READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags to open what may be no file, such as a pipe that nobody writes to, without waiting for it."""
_GROUP_READS, _OTHERS_READ = stat.S_IRGRP, stat.S_IROTH
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def open_checked(path: Path, *, secret: bool) -> int:
    """Open a file that only those who may have changed it, and a secret one that only those who may have read it.

    Returns:
        a descriptor, for reading.

    Raises:
        CredentialError: others may change the file, its folder or the folder that a link leads to, or read the secret.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, READING)
    try:
        _check_file(path, os.fstat(descriptor), secret=secret)
        for folder in dict.fromkeys((path.parent, path.resolve().parent)):
            check_folder(folder)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_folder(folder: Path) -> None:
    """That nobody else can put other files in the place of those in a folder.

    Raises:
        CredentialError: somebody can.
        OSError: it is not there.
    """
    status = folder.stat()
    _check_owner(folder, status)
    if user_folders.HAS_MODES and status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        message = f"others can change the folder {folder} (mode {stat.S_IMODE(status.st_mode):o})"
        raise CredentialError(message, hint=f"chmod go-w {in_shell(folder)}")


def _check_file(path: Path, status: os.stat_result, *, secret: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CredentialError(f"{path} is not a file", hint="put the file itself, or a link to it, there")
    if not user_folders.HAS_MODES:
        return
    _check_owner(path, status)
    if secret:
        _check_secret(path, status)
    if status.st_mode & _OTHERS_WRITE:
        message = f"others can change {path} (mode {stat.S_IMODE(status.st_mode):o})"
        raise CredentialError(message, hint=f"compare it with the CA machine's, then chmod go-w {in_shell(path)}")


def _check_secret(path: Path, status: os.stat_result) -> None:
    if status.st_mode & _OTHERS_READ:
        raise CredentialError(f"{path} can be read by everybody on this machine", hint=f"chmod 600 {in_shell(path)}")
    is_lent = status.st_uid == 0 and os.geteuid() != 0
    if status.st_mode & _GROUP_READS and not is_lent:
        message = f"{path} can be read by its group (mode {stat.S_IMODE(status.st_mode):o})"
        raise CredentialError(message, hint=f"chmod 600 {in_shell(path)}")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if user_folders.HAS_MODES and status.st_uid not in (0, os.geteuid()):
        message = f"{path} belongs to another user (number {status.st_uid})"
        hint = f"run securesplit as that user, or chown {os.geteuid()} {in_shell(path)}"
        raise CredentialError(message, hint=hint)
