"""The session log: who had a session, when, how many requests, why it ended; one JSON object a line.

Invariants:

- The file is 0600 and only ever appended to; what is not a regular file of ours, or holds something else, is refused: a
  mistaken path must not spoil a key or a list.
- Where another file has taken its place, lines go there: a rotation while the worker starts, which no signal tells it
  of (systemd reloads only what runs), must not have it write into an archive.
- A line names a certificate (NAME and fingerprint) and counts; it holds no address, no release, no answer and no key.
- Recording never waits for the disk: a thread writes, and what it cannot write is counted, warned of once a
  minute, and told in a line ``lost`` as soon as the disk takes lines again. Serving continues.
- Each batch of lines is on the disk (``fsync``) before the next one is written. A session without a line ``ended``
  before the next line ``started`` ended with the worker's process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from securesplit.errors import ConfigError
from securesplit.text import counted
from securesplit.worker.monitoring.log_throttle import LogThrottle
from securesplit.worker.monitoring.lossy_writer import LossyWriter, Written

_log = logging.getLogger(__name__)
_WARN_EVERY_S = 60.0
_CLOSE_S = 5.0
_BATCH_LINES = 1_000  # of about 300 bytes
_BEGINNINGS = (b"", b"{", b"\n", b"\0")
"""Of a file: empty, a line, the end of one that ``copytruncate`` took, what a power cut may leave on a disk."""

Line: TypeAlias = dict[str, str | int]


class SessionLog:
    """An append-only file of sessions.

    Args:
        path: of the file; it is made where it is missing, in a folder that exists.

    Attributes:
        written: lines on the disk.

    Raises:
        ConfigError: it cannot be opened for us alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path)
        self._reopen = threading.Event()
        self._warnings = LogThrottle(time.monotonic, _WARN_EVERY_S)
        self.written = 0
        self._writer: LossyWriter[Line] = LossyWriter(
            "securesplit-sessions", self._append, batch=_BATCH_LINES, close_s=_CLOSE_S, end=self._close_file
        )

    @property
    def lost(self) -> int:
        """Lines that never reached the file."""
        return self._writer.lost

    def record(self, event: str, **fields: str | int) -> None:
        """Append a line, soon; never blocks."""
        self._writer.put({"time": _now(), "event": event, **fields})

    def reopen(self) -> None:
        """Open the path again before the next line, since the file was rotated away; never blocks."""
        self._reopen.set()
        self._writer.wake()

    def close(self) -> None:
        """Write what waits, for at most 5 s, and close the file."""
        self._writer.close()

    def _close_file(self) -> None:
        os.close(self._file)

    def _is_replaced(self) -> bool:
        """Whether another file is in the place of the open one; where there is none, whoever rotates makes it."""
        try:
            there = self._path.lstat()
        except OSError:
            return False
        try:
            return not os.path.samestat(there, os.fstat(self._file))
        except OSError:  # a network disk has forgotten the open one
            return True

    def _open_again(self) -> None:
        try:
            fresh = _open(self._path)
        except ConfigError as error:
            self._warn(f"{error.message}; the file before it is used on")
            return
        os.close(self._file)
        self._file = fresh

    def _append(self, lines: list[Line], lost: int) -> Written:
        """Write lines, after one that says how many were lost where some were (for `LossyWriter`)."""
        if self._reopen.is_set() or self._is_replaced():
            self._reopen.clear()
            self._open_again()
        gap: list[Line] = [{"time": _now(), "event": "lost", "lines": lost}] if lost else []
        if not gap and not lines:
            return Written(0, gap=False)
        texts = [f"{json.dumps(line, allow_nan=False)}\n" for line in [*gap, *lines]]
        is_torn = self._is_torn()
        data = (("\n" if is_torn else "") + "".join(texts)).encode()
        done, error = self._write(data)
        whole = data[:done].count(b"\n") - (is_torn and done > 0)
        kept = max(0, whole - len(gap))
        self.written += kept
        if error is not None:
            so_far = counted(self.lost + len(lines) - kept, "line")
            self._warn(f"{error.strerror}; so far {so_far} lost, serving continues")
        return Written(kept, gap=bool(gap and whole))

    def _is_torn(self) -> bool:
        """Whether the file ends within a line, which a full disk, a kill or a power cut has left."""
        try:
            size = os.fstat(self._file).st_size
            return size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        except OSError:
            return False

    def _write(self, data: bytes) -> tuple[int, OSError | None]:
        """Write what the disk takes; returns how many bytes those were."""
        done = 0
        try:
            while done < len(data):
                done += os.write(self._file, data[done:])
            os.fsync(self._file)
        except OSError as error:
            return done, error
        return done, None

    def _warn(self, why: str) -> None:
        if self._warnings.is_due():
            _log.error("the session log cannot be written: %(why)s", {"why": why}, extra={"event": "audit-failed"})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _open(path: Path) -> int:
    """Open for appending, 0600.

    Raises:
        ConfigError: it is not a regular file of ours, holds something else, or cannot be opened.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with contextlib.ExitStack() as opened:
        try:
            file = os.open(path, flags, 0o600)
            opened.callback(os.close, file)
            _check(path, file)
            os.fchmod(file, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:  # O_NOFOLLOW
                hint = "name the file that it leads to; folders on the way may be links"
                raise ConfigError(f"the session log {path} is a link", hint=hint) from None
            hint = "name a file in a folder that this user may write, on a disk that keeps permissions"
            raise ConfigError(f"the session log {path} cannot be opened ({error.strerror})", hint=hint) from None
        opened.pop_all()
    return file


def _check(path: Path, file: int) -> None:
    """That an open file is a session log of ours; raises ConfigError, or OSError where it cannot be read."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise ConfigError(f"the session log {path} is not a file of this user", hint="name a new file")
    if os.pread(file, 1, 0) not in _BEGINNINGS:
        raise ConfigError(f"{path} is no session log: it holds something else", hint="name a new file")
