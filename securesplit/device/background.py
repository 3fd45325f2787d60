"""A thread that runs one function after the other, in the order in which they were handed to it.

A signal's handler may close it whatever it interrupts: nothing here waits for a lock that the handler's thread holds.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")
_Queue = SimpleQueue[Callable[[], None] | None]


class Background:
    """The thread starts with the first `submit`, and ends with `close` or with this object.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: _Queue = SimpleQueue()
        self._starting, self._is_over = threading.Lock(), False
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._queue.put, None).atexit = False

    def submit(self, work: Callable[[], _T]) -> Future[_T]:
        """Have `work` run by the thread, or after `close` at once by the caller; its error is the future's."""
        future: Future[_T] = Future()
        self._queue.put(lambda: _do(work, future))
        if not self._is_over:  # the thread takes it before it ends
            self._start()
        elif self._thread is None or not self._thread.is_alive():
            _drain(self._queue)
        # else `close`, which waits for the thread, does this after it
        return future

    def close(self) -> None:
        """Wait until everything that was handed over has run."""
        self._is_over = True
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        _drain(self._queue)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=_work, args=(self._queue,), name=self._name, daemon=True)
                self._thread.start()


def _work(queue: _Queue) -> None:
    while (action := queue.get()) is not None:
        action()
        del action


def _drain(queue: _Queue) -> None:
    """Run what is left, and leave the sign of the end for a thread that is still to come to it."""
    while True:
        try:
            action = queue.get_nowait()
        except Empty:
            break
        if action is not None:
            action()
    queue.put(None)


def _do(work: Callable[[], _T], future: Future[_T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        future.set_exception(error)
    else:
        future.set_result(result)
