"""A thread for work in order: nothing is lost when it is closed, nor done twice."""

from __future__ import annotations

import contextlib
import gc
import threading
import time

import pytest

from securesplit.device.background import Background
from securesplit_testing.serving import wait_until


def test_work_is_done_in_order_and_before_it_is_closed() -> None:
    done: list[int] = []
    background = Background("order")
    slow = background.submit(lambda: time.sleep(0.05))
    for number in range(5):
        background.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    background.close()
    assert slow.done()
    assert done == list(range(5))


def test_an_error_is_that_of_its_work_alone() -> None:
    background = Background("error")
    failing = background.submit(lambda: 1 // 0)
    assert background.submit(threading.get_ident).result(5) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        failing.result(5)
    background.close()


def test_what_comes_after_the_end_is_done_here() -> None:
    background = Background("late")
    background.close()
    assert background.submit(threading.get_ident).result(5) == threading.get_ident()


def test_what_comes_while_it_is_closed_keeps_its_turn() -> None:
    """A row that is being written when a client is closed can be taken back only after that."""
    done: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        go_on.wait(10)
        done.append("written")

    background = Background("closing")
    background.submit(write)
    assert begun.wait(5)
    closing = threading.Thread(target=background.close, daemon=True)
    closing.start()
    wait_until(lambda: background._work.is_over and not background._work.waiting.empty())
    taken_back = background.submit(lambda: done.append("taken back"))
    go_on.set()
    closing.join(5)
    assert not closing.is_alive()
    assert taken_back.done()
    assert done == ["written", "taken back"]


def test_it_may_be_closed_by_a_handler_in_the_midst_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler runs between any two steps of the thread that asks."""
    background = Background("handler")
    background.submit(int).result(5)
    put = background._work.waiting

    class Interrupted:
        @staticmethod
        def put(action: object) -> None:
            background._work.waiting = put
            background.close()
            put.put(action)  # type: ignore[arg-type]

    background._work.waiting = Interrupted  # type: ignore[assignment]
    assert background.submit(threading.get_ident).result(5) == threading.get_ident()


@pytest.mark.parametrize("raises", [False, True], ids=["closes", "raises"])
@pytest.mark.parametrize("is_started", [False, True], ids=["before", "after"])
def test_a_handler_may_come_where_its_thread_is_started(
    monkeypatch: pytest.MonkeyPatch, *, is_started: bool, raises: bool
) -> None:
    """Before the thread runs and after that, while nobody has noted yet that it does."""
    background, done, start = Background("start"), list[int](), threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        monkeypatch.undo()
        if is_started:
            start(thread)
        if raises:
            raise KeyboardInterrupt
        background.close()
        if not is_started:
            start(thread)

    def slow() -> None:
        time.sleep(0.05)
        done.append(1)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        background.submit(slow)
    assert done == ([] if raises else [1])
    background.submit(lambda: done.append(2)).result(5)
    background.close()
    assert done == [1, 2]


def test_one_that_nobody_has_any_more_ends() -> None:
    background = Background("forgotten")
    thread = background.submit(threading.current_thread).result(5)
    del background
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
