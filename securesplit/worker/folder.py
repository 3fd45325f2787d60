"""The folder of a pool's socket: mode 0700, removed at the end, and by the next worker where the end was a kill -9."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from securesplit.errors import ConfigError

_PREFIX = "securesplit-pool-"
_GRACE_S = 60.0


class PoolFolder:
    """A fresh temporary folder that only its owner may enter, held by a lock that the system drops with the process.

    Raises:
        ConfigError: there is no temporary folder, or nothing can be made in it.
    """

    def __init__(self) -> None:
        try:
            _sweep(Path(tempfile.gettempdir()))
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            hint = "make room there, or set TMPDIR to another folder"
            raise ConfigError(f"the temporary folder cannot be used: {error.strerror}", hint=hint) from error

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _sweep(parent: Path) -> None:
    """Remove folders of ours whose worker is gone; a young one may not have taken its lock yet."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > _GRACE_S and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def _is_abandoned(folder: Path) -> bool:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
