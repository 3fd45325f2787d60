"""What libzmq holds of connections that the front has not seen yet shows in the process's memory, and has a bound."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

from securesplit.worker.resources import MemoryGuard, resident_bytes
from securesplit_testing.garbage import TLS_HELLO
from securesplit_testing.serving import release, running, wait_until
from securesplit_testing.threads import beside
from tests.transport.raw import connect

MB = 1_000_000


def test_growth_counts_from_the_last_size_that_was_fine() -> None:
    guard = MemoryGuard(20 * MB)
    assert not guard.is_exceeded()
    held = b"x" * (60 * MB)
    assert guard.is_exceeded()
    guard.rebase()
    assert not guard.is_exceeded()
    assert len(held) == 60 * MB


def test_the_memory_of_a_process_that_has_ended_is_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as other:
        wait_until(lambda: resident_bytes(other.pid) > MB)
    assert resident_bytes(other.pid) == 0
    assert resident_bytes() > MB


def test_a_rush_of_strangers_costs_honest_clients_nothing() -> None:
    with running() as worker, worker.connect() as connection:
        assert connection.request(release(1)).logit == 1
        worker.front._guards = [MemoryGuard(10 * MB)]

        def come_and_go(over: threading.Event) -> None:
            while not over.is_set():
                with contextlib.suppress(OSError), connect(worker.front.endpoint, TLS_HELLO):
                    pass

        with beside(*3 * [come_and_go]):
            wait_until(lambda: worker.front.counters.connection_drops > 0, 30)
            worker.front._guards = [MemoryGuard()]  # so little would be taken again before a slow machine has answered
            assert connection.request(release(2)).logit == 2
        assert connection.request(release(3)).logit == 3
        assert worker.front._channel.session_count == 1, "sessions stay"
