"""One wait for everything: what is ready is told, a wakeup never blocks whoever wakes, and nothing waits in vain."""

from __future__ import annotations

import signal
import socket
import threading
import time
from dataclasses import dataclass

import pytest

from securesplit.transport.poll import Poller, Wakeup

MANY = 20_000
"""Bytes, one a call: more than a pair of sockets takes."""


@dataclass(frozen=True)
class End:
    """Of a pair of sockets."""

    readable: int


def fill(end: socket.socket) -> None:
    """Until it takes no more."""
    end.settimeout(0)
    while True:
        end.send(bytes(1_024))


def test_a_thousand_wakeups_that_nobody_reads_block_nobody_and_are_one() -> None:
    """A signal's handler may call it while the loop that would clear it stands still."""
    wakeup, poller = Wakeup(), Poller()
    poller.add(wakeup)
    waking = threading.Thread(target=lambda: [wakeup.wake() for _ in range(MANY)], daemon=True)
    waking.start()
    waking.join(20)
    assert not waking.is_alive()
    assert poller.wait(5.0) == [wakeup]
    wakeup.clear()
    assert poller.wait(0.0) == []
    wakeup.clear()  # which does not wait for another one
    wakeup.wake()
    assert poller.wait(5.0) == [wakeup]


def test_a_signal_ends_a_wait() -> None:
    wakeup, poller = Wakeup(), Poller()
    poller.add(wakeup)
    before = signal.signal(signal.SIGUSR1, lambda *_: None), signal.set_wakeup_fd(wakeup.signal_fd)
    try:
        signal.raise_signal(signal.SIGUSR1)
        assert poller.wait(5.0) == [wakeup]
    finally:
        signal.set_wakeup_fd(before[1])
        signal.signal(signal.SIGUSR1, before[0])


def test_a_wait_is_no_shorter_than_was_asked() -> None:
    """Else whoever waits for a time that is less than a millisecond away would ask again and again until then."""
    poller, silent = Poller(), Wakeup()
    poller.add(silent)
    for wait_s in (0.0004, 0.0016, 0.01):
        before = time.monotonic()
        assert poller.wait(wait_s) == []
        assert time.monotonic() - before >= wait_s
    assert poller.wait(-1.0) == [], "a negative one is none, not one without end"


def test_only_what_is_watched_is_told_and_only_what_is_asked_of_it() -> None:
    ends = socket.socketpair()
    try:
        mine, theirs = (End(end.fileno()) for end in ends)
        poller = Poller()
        poller.add(mine)
        poller.add(theirs)
        ends[1].send(b"x")
        assert poller.wait(5.0) == [mine]
        poller.watch(mine, writes=True)
        poller.watch(theirs, writes=True)
        assert set(poller.wait(5.0)) == {mine, theirs}
        with pytest.raises(BlockingIOError):
            fill(ends[1])
        assert poller.wait(5.0) == [mine]
        ends[0].send(b"x")
        assert set(poller.wait(5.0)) == {mine, theirs}, "it takes no more, and has something to say"
        poller.watch(theirs, writes=False)
        ends[1].recv(1)
        assert poller.wait(5.0) == [mine]
        for _ in range(2):  # one that is not watched is removed already
            poller.remove(mine)
        assert poller.wait(0.0) == []
    finally:
        for end in ends:
            end.close()


def test_a_wakeup_lives_as_long_as_anything_refers_to_it() -> None:
    wakeup = Wakeup()
    wake, descriptor = wakeup.wake, wakeup.readable
    del wakeup
    wake()
    assert socket.socket(fileno=descriptor).detach() == descriptor
    del wake
    try:
        socket.socket(fileno=descriptor).detach()
    except OSError:
        return
    raise AssertionError("the pair is still open")
