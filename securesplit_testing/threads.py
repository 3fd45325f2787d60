"""Threads that run beside a test."""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def beside(*targets: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run each target in a thread of its own while the block lasts.

    Args:
        targets: each returns soon after the event that it is given is set, which it is however the block ends. A thread
            that a failed test leaves behind would keep the process, and with it the whole suite, from ending.
    """
    over = threading.Event()
    threads = [threading.Thread(target=target, args=(over,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def end_within(seconds: float) -> None:
    """Let this process live so much longer at most: then say where each thread stands, and exit with 1."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
