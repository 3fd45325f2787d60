"""Interrupted, cancelled, late, renewed: what happens to one request leaves the connection and its neighbours whole."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zmq

from securesplit.channel.frames import Code
from securesplit.errors import UnreachableError
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection, Timeouts
from securesplit.transport.endpoint import Endpoint
from securesplit_testing.serving import IDENTITY, Running, release, running, serve_engine
from securesplit_testing.timing import took_less_than
from tests.transport.clients import CLIENT, CLIENTS, KEYS, TIMEOUTS
from tests.transport.forgeries import FORGERIES
from tests.transport.middleman import err, middleman

ROUNDS = 30


class Stopped(Exception):  # noqa: N818  (what somebody's signal handler raises, such as a time limit)
    """Not one of ours."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # cffi swallows one in its callbacks
@pytest.mark.parametrize("kind", [KeyboardInterrupt, Stopped])
def test_a_signal_within_a_request_leaves_the_connection_whole(worker: Running, kind: type[BaseException]) -> None:
    """At some thirty moments of connecting, shaking hands and waiting; the same connection then answers the next."""

    def stop(_number: int, _frame: Any) -> None:
        raise kind

    before, stopped = signal.signal(signal.SIGUSR1, stop), 0
    try:
        connection = worker.connect()
        for turn in range(ROUNDS):
            if turn % 3 == 0:
                connection.close()
                connection = worker.connect()
            timer = threading.Timer(0.0004 * turn, os.kill, (os.getpid(), signal.SIGUSR1))
            try:
                timer.start()
                connection.request(release(turn))
                timer.join()
                time.sleep(0)  # a place for a signal that came late
            except kind:
                stopped += 1
            timer.join()
            start = time.monotonic()
            assert connection.request(release(7)).logit == 7
            took_less_than(3.0, start)
        connection.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert stopped > ROUNDS // 2


class CutOff(type(threading.RLock())):  # type: ignore[misc]
    """A lock at which a signal arrives just when it was taken."""

    def acquire(self, *args: Any, **options: Any) -> bool:
        assert super().acquire(*args, **options)
        raise KeyboardInterrupt


def test_a_signal_at_acquisition_returns_the_connection(worker: Running) -> None:
    with worker.connect() as connection:
        opened = connection._opened.value
        usual, opened.lock = opened.lock, CutOff()
        with pytest.raises(KeyboardInterrupt):
            connection.request(release(3))
        with pytest.raises(RuntimeError, match="un-acquired"):
            opened.lock.release()
        opened.lock = usual
        assert connection.request(release(4)).logit == 4


def test_a_signal_handler_may_close_the_interrupted_client() -> None:
    """It hung for ever: the thread waited for the lock that it held itself. The request under way is still answered."""
    with running(serve_engine("Sum", pause_s=0.3), keys=KEYS) as worker:
        connection = worker.connect()
        before = signal.signal(signal.SIGUSR1, lambda *_: connection.close())
        timer = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGUSR1))
        try:
            timer.start()
            assert connection.request(release(3)).logit == 3
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
        assert connection._opened.value.context.closed
        with pytest.raises(UnreachableError, match="the client was closed"):
            connection.request(release(3))


def test_a_socket_left_by_a_signal_does_not_delay_exit(worker: Running) -> None:
    """A signal inside of pyzmq's `Socket.close` or `Context.socket`: libzmq waited for the socket for ever."""
    connection = worker.connect()
    assert connection.request(release(3)).logit == 3
    context = connection._opened.value.context
    left = context.socket(zmq.PAIR)
    context._rm_socket(left)
    start = time.monotonic()
    connection.close()
    took_less_than(5.0, start)
    left.close()
    while not context.closed:
        took_less_than(20.0, start, "its threads end with the socket")
        time.sleep(0.01)


def test_threads_wait_no_longer_than_their_own_timeout() -> None:
    """Behind a worker that says nothing each thread waited for all before it: 6 × 1 s."""
    with middleman(None, None, lambda _: []) as silent, ThreadPoolExecutor(6) as threads:
        timeouts = Timeouts(total_s=1.0)
        with Connection([silent.endpoint], CLIENT, IDENTITY, timeouts=timeouts) as connection:
            start = time.monotonic()
            asked = [threads.submit(connection.request, release(n)) for n in range(6)]
            assert all(isinstance(one.exception(), UnreachableError) for one in asked)
            took_less_than(3.0, start)


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_late_answer_still_belongs_to_its_request(ask: Any) -> None:
    with running(serve_engine("Sum", pause_s=0.4), keys=KEYS) as worker:
        assert ask([worker.front.endpoint], Timeouts(total_s=20.0, try_s=0.3), [3, 4]) == [3, 4]


def test_attempts_too_short_for_the_queue_keep_the_session() -> None:
    """Twelve at once on one tail: the last waits four tries long, while the others' answers show that it is alive."""

    async def scenario(worker: Running) -> None:
        timeouts = Timeouts(total_s=20.0, try_s=0.3)
        async with AsyncConnection([worker.front.endpoint], CLIENT, IDENTITY, timeouts=timeouts) as connection:
            await connection.request(release(1))
            opened = worker.front._channel.session_count
            answers = await asyncio.gather(*(connection.request(release(n)) for n in range(12)))
            assert [found.logit for found in answers] == list(range(12))
            assert worker.front._channel.session_count == opened

    with running(serve_engine("Sum", pause_s=0.1), keys=KEYS, max_batch=1) as worker:
        asyncio.run(scenario(worker))


def test_a_request_out_of_time_leaves_the_connection_to_others() -> None:
    async def scenario(worker: Running) -> None:
        async with AsyncConnection([worker.front.endpoint], CLIENT, IDENTITY) as connection:
            await connection.request(release(1))
            long = [asyncio.create_task(connection.request(release(n))) for n in range(3)]
            await asyncio.sleep(0)
            connection._timeouts = Timeouts(total_s=0.05)
            short = [asyncio.create_task(connection.request(release(n))) for n in range(3)]
            ended = await asyncio.gather(*short, return_exceptions=True)
            assert all(isinstance(error, UnreachableError) for error in ended), ended
            assert [found.logit for found in await asyncio.gather(*long)] == [0, 1, 2]
            assert worker.front._channel.session_count == 1

    with running(serve_engine("Sum", pause_s=0.3), keys=KEYS, max_batch=1) as worker:
        asyncio.run(scenario(worker))


def test_new_credentials_within_a_handshake_block_nobody(worker: Running) -> None:
    async def scenario() -> None:
        for turn in range(10):
            async with AsyncConnection([worker.front.endpoint], CLIENT, IDENTITY) as connection:
                waiting = [asyncio.create_task(connection.request(release(n))) for n in range(4)]
                await asyncio.sleep(0.0005 * turn)
                connection.renew(CLIENT)
                waiting += [asyncio.create_task(connection.request(release(n))) for n in range(4, 8)]
                async with asyncio.timeout(20.0):
                    assert [found.logit for found in await asyncio.gather(*waiting)] == list(range(8))

    asyncio.run(scenario())


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("name", ["worker", "tls", "alert-44", "other-bundle", "flight", "unknown-session"])
def test_a_forger_at_one_address_of_a_name_is_passed_by(
    worker: Running, name: str, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with middleman(None, None, FORGERIES[name]) as forger:
        found = [Endpoint.parse(forger.endpoint), Endpoint.parse(worker.front.endpoint)]
        monkeypatch.setattr(Endpoint, "resolve", lambda _: found)
        assert ask(["tcp://127.0.0.1:1"], TIMEOUTS, [3, 4]) == [3, 4]


def test_one_absent_address_is_one_failure_however_many_wait(
    worker: Running, free_port: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Endpoint("127.0.0.1", free_port()), Endpoint.parse(worker.front.endpoint)]
    monkeypatch.setattr(Endpoint, "resolve", lambda _: found)

    async def scenario() -> None:
        async with AsyncConnection(["tcp://127.0.0.1:1"], CLIENT, IDENTITY) as connection:
            start = time.monotonic()
            answers = await asyncio.gather(*(connection.request(release(n)) for n in range(8)))
            assert [one.logit for one in answers] == list(range(8))
            took_less_than(1.0, start)

    asyncio.run(scenario())


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_busy_worker_s_wish_is_granted_up_to_a_bound(worker: Running, ask: Any) -> None:
    with middleman(worker.front.endpoint, None, lambda f: err(Code.BUSY, f, retry_after_ms=400), times=1) as forger:
        start = time.monotonic()
        assert ask([forger.endpoint], Timeouts(total_s=10.0), [3]) == [3]
        assert 0.4 <= time.monotonic() - start < 3.0
