"""Work on the next items while the present one waits for something else, in order and within bounds."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

AHEAD = 4
"""Items whose work is done or under way before their turn. Two would do where all take the same time; a large photo
takes as long as ten small ones."""
THREADS = 2
"""One photo is read while another is at the head."""

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")


def ahead(work: Callable[[_Item], _Done], items: Iterable[_Item]) -> Iterator[tuple[_Item, Callable[[], _Done]]]:
    """Do `work` on items before their turn comes, in threads; a single one is worked on in the caller's thread.

    Args:
        work: may be called by two threads at once.
        items: asked for one by one, in the caller's thread, at most `AHEAD` before their turn.

    Yields:
        Each item, in order, with what returns its result or raises its error, also after the last one was yielded.
    """
    first = list(itertools.islice(feed := iter(items), 2))
    if len(first) < 2:
        yield from ((item, partial(work, item)) for item in first)
        return
    waiting: deque[tuple[_Item, Callable[[], _Done]]] = deque()
    is_over = False
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="securesplit-ahead")
    try:
        for item in itertools.chain(first, feed):
            waiting.append((item, pool.submit(work, item).result))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
        is_over = True
    finally:
        pool.shutdown(cancel_futures=not is_over)
