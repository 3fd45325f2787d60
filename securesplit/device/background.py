"""A thread that runs one function after the other, in the order in which they were handed to it.

Invariants:

- Whoever has the turn runs what waits, and nobody else: the thread, and after `close` whoever closes or hands over.
- A signal's handler may close it, or raise, between any two steps: nothing here waits for a lock that the handler's
  thread holds, and no two steps leave work behind that nobody does. A thread that is started twice, because a handler
  came before the first start was noted, finds the turn taken and ends.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(slots=True)
class _Work:
    """What the thread has of its `Background`, which it must not keep alive.

    Attributes:
        waiting: what is to be run; None only wakes the thread.
        turn: whoever runs it has this.
        is_over: whether the thread is to end.
    """

    waiting: SimpleQueue[Callable[[], None] | None] = field(default_factory=SimpleQueue)
    turn: threading.RLock = field(default_factory=threading.RLock)
    is_over: bool = False

    def serve(self) -> None:
        """Run what comes, in the thread, until it is over."""
        if not self.turn.acquire(blocking=False):
            return
        try:
            while not self.is_over and (action := self.waiting.get()) is not None:
                action()
                del action
        finally:
            self.turn.release()
        self.finish()

    def finish(self) -> None:
        """Run what is left, unless somebody else has the turn, who looks again after it."""
        while self.is_over and not self.waiting.empty() and self.turn.acquire(blocking=False):
            try:
                self.drain()
            finally:
                self.turn.release()

    def drain(self) -> None:
        """Run what waits; for who has the turn."""
        while True:
            try:
                action = self.waiting.get_nowait()
            except Empty:
                return
            if action is not None:
                action()


class Background:
    """The thread starts with the first `submit`, and ends with `close` or with this object.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work = _Work()
        self._is_started = False
        weakref.finalize(self, self._work.waiting.put, None).atexit = False

    def submit(self, work: Callable[[], _T]) -> Future[_T]:
        """Have `work` run by the thread, or after `close` at once by the caller; its error is the future's."""
        future: Future[_T] = Future()
        self._work.waiting.put(lambda: _do(work, future))
        if self._work.is_over:
            self._work.finish()
        elif not self._is_started:
            threading.Thread(target=self._work.serve, name=self._name, daemon=True).start()
            self._is_started = True
        return future

    def close(self) -> None:
        """Wait until everything that was handed over has run."""
        self._work.is_over = True
        self._work.waiting.put(None)
        with self._work.turn:
            self._work.drain()
        self._work.finish()


def _do(work: Callable[[], _T], future: Future[_T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        future.set_exception(error)
    else:
        future.set_result(result)
