"""Notice that files have changed, by looking at them now and then, and remember it until they could be read.

A look costs a ``stat`` a file (some ten microseconds for a certs folder). A file counts as changed when its inode, size
or times did, so both a replaced file and one that was written in place are seen. Whoever copies files writes them one
after the other, perhaps slowly; hence a change is told only once everything has stood still for ``settle_s``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_Stamp = tuple[tuple[int, ...] | None, ...]


class FileWatch:
    """Looks at some files.

    Args:
        paths: the files; they need not exist.
        settle_s: seconds that all must stand still before a change is told.
        clock: a monotonic clock, in seconds.

    Attributes:
        is_unread: the files have changed, or were to be read again, and could not be read since.
    """

    def __init__(self, paths: Sequence[Path], *, settle_s: float, clock: Callable[[], float]) -> None:
        self._paths = tuple(paths)
        self._settle_s = settle_s
        self._clock = clock
        self._known = self._last = self._stamp()
        self._since_s = clock()
        self.is_unread = False

    def read(self, load: Callable[[], T]) -> T:
        """What `load` makes of the files, which are known from now on as they are before it; raises what it raises."""
        self._known, self.is_unread = self._stamp(), True
        found = load()
        self.is_unread = False
        return found

    def has_changed(self) -> bool:
        """Whether the files differ from the known ones and have settled; if so they are known from now on."""
        stamp = self._stamp()
        if stamp != self._last:
            self._last, self._since_s = stamp, self._clock()
        if stamp == self._known or self._clock() - self._since_s < self._settle_s:
            return False
        self._known, self.is_unread = stamp, True
        return True

    def _stamp(self) -> _Stamp:
        return tuple(_look(path) for path in self._paths)


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
