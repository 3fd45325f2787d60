"""A thread that writes what others hand over, for logs that must never block those who log.

Invariants:

- Handing over never blocks. What finds the queue full is dropped and counted.
- What cannot be written (a full disk, a closed stream) is dropped and counted, and the thread continues.
- Whatever was dropped is reported by its number as a gap in what is written, as soon as something can be written.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

Item = TypeVar("Item")
MAX_WAITING = 10_000
_RETRY_S = 1.0


class Written(NamedTuple):
    """How far a write got.

    Attributes:
        items: how many of the items were written.
        gap: whether the number of those lost before was.
    """

    items: int
    gap: bool


Write: TypeAlias = Callable[[list[Item], int], Written]
"""Write items, and before them that so many were lost; raises nothing. Both may be nothing: somebody called `wake`."""


class LossyWriter(Generic[Item]):
    """A bounded queue, and the thread that writes from it.

    Args:
        name: of the thread.
        write: called in the thread, with as many items as wait.
        batch: items that `write` gets at most.
        close_s: how long `close` waits for the thread.
        end: called by the thread as its last act.

    Attributes:
        queue: where items may be put as well, by those who call `drop` where it is full.
    """

    def __init__(
        self, name: str, write: Write[Item], *, batch: int, close_s: float, end: Callable[[], None] = lambda: None
    ) -> None:
        self._write, self._batch, self._close_s, self._end = write, batch, close_s, end
        self.queue: queue.Queue[Item | None] = queue.Queue(MAX_WAITING)
        self._over = threading.Event()
        self._dropped = 0  # by the callers: the queue was full
        self._failed = 0  # by the thread: it could not write
        self._reported = 0  # of both
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Items that were never written."""
        return self._dropped + self._failed

    def put(self, item: Item) -> None:
        """Have an item written, or drop it; never blocks."""
        try:
            self.queue.put_nowait(item)
        except queue.Full:
            self.drop()

    def drop(self) -> None:
        """Count an item as lost."""
        self._dropped += 1

    def wake(self) -> None:
        """Have `write` called soon, whether or not something waits; never blocks."""
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(None)

    def close(self) -> None:
        """Write what waits, for as long as was agreed; may be called again."""
        self._over.set()
        self.wake()
        self._thread.join(self._close_s)

    def _run(self) -> None:
        while not (self._over.is_set() and self.queue.empty()):
            self._step(self._take())
        if self.lost > self._reported:
            self._step([])
        self._end()

    def _take(self) -> list[Item]:
        """Wait for an item, and return those that wait with it."""
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self.queue.get(timeout=_RETRY_S if self.lost > self._reported else None))
            while len(found) < self._batch:
                found.append(self.queue.get_nowait())
        return [item for item in found if item is not None]

    def _step(self, items: list[Item]) -> None:
        lost = self.lost
        written = self._write(items, lost - self._reported)
        if written.gap:
            self._reported = lost
        self._failed += len(items) - written.items
