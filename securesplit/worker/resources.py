"""File descriptors and memory: as much as the system grants, and some kept free whatever peers do.

libzmq accepts every connection before the front can look at it, and a stranger's counts as much as a client's. Where
few files may be open, peers that only connect would leave the front no descriptor to start a tail with.

What the front holds of its peers is counted and bounded (``transport/peers.py``). What libzmq holds of connections
that it has accepted and the front has not seen yet, about 50 kB each, nobody can count: where strangers come and go
faster than the front sees them off, it shows in the memory of the process alone (ADR 019).
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import time
from pathlib import Path
from typing import Protocol

from securesplit.errors import ConfigError
from securesplit.text import counted

_WANTED = 65_536
_FRONT = 64  # what a front has open without a client, 21 on Linux, and what its socket needs to be opened again
_TAIL = 8  # one connection, one lifeline and the count of its memory each; four more while it is being started
_TRIES, _PAUSE_S = 20, 0.001  # until a process that was just started is seen
ALLOWANCE_BYTES = 256 << 20  # connections, sessions, and what is held of peers, at their bounds, take 200 MB


def raise_limit() -> None:
    """Allow this process as many open files as the system grants it without asking, up to 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Guard(Protocol):
    """Watches one resource of this process.

    Attributes:
        taken: what peers have taken where it is exceeded, for the log.
    """

    taken: str

    def is_exceeded(self) -> bool:
        """Whether peers have taken too much of it."""

    def rebase(self) -> None:
        """All connections were dropped: what is taken now is fine."""


class DescriptorGuard(Guard):
    """Watches how near this process is to its limit of open files.

    Args:
        tails: how many there will be.

    Raises:
        ConfigError: the limit is too low for so many.
    """

    taken = "all file descriptors"

    def __init__(self, tails: int) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        reserve = _FRONT + _TAIL * tails
        if limit < 2 * reserve:
            raise ConfigError(
                f"this process may open {limit:,} files, too few for {counted(tails, 'tail')} and their clients",
                hint=f"ulimit -n {2 * reserve} or more, or fewer --workers",
            )
        self._last = limit - reserve

    def is_exceeded(self) -> bool:
        """Whether fewer descriptors than the reserve are free; the system gives out the lowest free number."""
        try:
            lowest = os.dup(0)
        except OSError:
            return True
        os.close(lowest)
        return lowest >= self._last

    def rebase(self) -> None:
        """Nothing to do: the bound is absolute."""


class MemoryGuard(Guard):
    """Watches the resident memory of this process (Linux; elsewhere it never complains).

    Args:
        allowance_bytes: growth that is still fine.
    """

    taken = "too much memory"

    def __init__(self, allowance_bytes: int = ALLOWANCE_BYTES) -> None:
        self._allowance = allowance_bytes
        self.rebase()

    def rebase(self) -> None:
        """Call the present size fine."""
        self._base = resident_bytes()

    def is_exceeded(self) -> bool:
        """Whether the process has grown by more than the allowance."""
        return resident_bytes() - self._base > self._allowance


class ResidentMemory:
    """The resident memory of a process of this user, also where the system hides it once nobody may trace it.

    systemd's ProtectProc does that (``hidepid`` of proc(5)); what is open by then can be read on.

    Args:
        pid: of the process, which was just started and can be traced. That nobody may trace its parent holds for it,
            too, until the kernel has ended its exec, so it may be hidden for a moment.
    """

    def __init__(self, pid: int) -> None:
        self._file = _opened(pid)
        for _ in range(_TRIES if resident_bytes() else 0):
            if self._file is not None:
                break
            time.sleep(_PAUSE_S)
            self._file = _opened(pid)

    def read(self) -> int:
        """Bytes; 0 where it has ended, or where there is no ``/proc``. From any thread."""
        try:
            return 0 if self._file is None else _resident(os.pread(self._file.fileno(), 256, 0))
        except (OSError, ValueError):  # it has ended, or is closed by another thread
            return 0

    def close(self) -> None:
        """It is wanted no more."""
        if self._file is not None:
            self._file.close()


def resident_bytes(pid: int | None = None) -> int:
    """The resident memory of a process; 0 where it has just ended, is hidden, or where there is no ``/proc``.

    Args:
        pid: of the process; None for this one.
    """
    try:
        return _resident(Path(f"/proc/{pid or 'self'}/statm").read_bytes())
    except OSError:
        return 0


def _opened(pid: int) -> io.FileIO | None:
    try:
        return io.FileIO(f"/proc/{pid}/statm")
    except OSError:
        return None


def _resident(statm: bytes) -> int:
    """The second number of ``statm``, which counts pages, in bytes; 0 where the process has ended."""
    pages = statm.split()[1:2]
    return int(pages[0]) * os.sysconf("SC_PAGE_SIZE") if pages else 0
