"""The asyncio connection against real workers: many at once over one session, cancelled, timed out, rekeyed, moved."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import zmq.asyncio

from securesplit.channel.client import ClientChannel
from securesplit.channel.limits import REQUESTS_IN_FLIGHT
from securesplit.errors import ConfigError, TrustError, UnreachableError, WorkerError
from securesplit.pki import keystore
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Timeouts
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.multiplexed_connection import MultiplexedConnection
from securesplit.transport.wire import Fault, TransportError
from securesplit_testing.engines import RAISING
from securesplit_testing.serving import IDENTITY, Running, now, release, running, serve_engine
from securesplit_testing.timing import took_less_than
from tests.transport.nat import Nat
from tests.transport.raw import ROUTER

KEYS = keystore.ephemeral(now())
CLIENT = KEYS[1]


def connect(*workers: Running, **options: Any) -> AsyncConnection:
    options.setdefault("timeouts", Timeouts(total_s=20.0))
    return AsyncConnection([worker.front.endpoint for worker in workers], CLIENT, IDENTITY, **options)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, and fail on whatever the loop complains about (a task or an error that nobody fetched)."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        await scenario
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, "nothing goes on after the connection was closed"

    asyncio.run(watched())
    assert complaints == []


async def ask(connection: AsyncConnection, first: int) -> float:
    return (await connection.request(release(first))).logit


def test_many_requests_share_a_session_and_keep_their_answers() -> None:
    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            answers = await asyncio.gather(*(ask(connection, n % 100) for n in range(300)))
            assert answers == [n % 100 for n in range(300)]
            assert worker.front._channel.session_count == 1

    with running(keys=KEYS, workers=2) as worker:
        run(scenario(worker))


def test_requests_are_really_side_by_side() -> None:
    """Eight requests of 0.5 s each on four tails: one after the other would take 4 s."""

    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            await ask(connection, 1)
            start = time.monotonic()
            await asyncio.gather(*(ask(connection, n) for n in range(8)))
            took_less_than(3.0, start)

    with running(serve_engine("Sum", pause_s=0.5), keys=KEYS, workers=4, max_batch=1) as worker:
        run(scenario(worker))


def test_no_more_is_in_flight_than_a_worker_takes_of_one_session() -> None:
    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            tasks = [asyncio.create_task(ask(connection, n)) for n in range(40)]
            most = 0
            while not all(task.done() for task in tasks):
                most = max(most, worker.front.status().in_flight)
                await asyncio.sleep(0.005)
            assert [task.result() for task in tasks] == list(range(40))
            assert 2 <= most <= REQUESTS_IN_FLIGHT

    with running(serve_engine("Sum", pause_s=0.02), keys=KEYS, max_batch=1) as worker:
        run(scenario(worker))


def test_a_cancelled_request_leaves_the_session_clean() -> None:
    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            await ask(connection, 1)
            for turn in range(20):
                doomed = [asyncio.create_task(ask(connection, 50 + n)) for n in range(4)]
                beside = asyncio.create_task(ask(connection, turn))
                await asyncio.sleep(0.002 * turn)
                for task in doomed:
                    task.cancel()
                ended = await asyncio.gather(*doomed, return_exceptions=True)
                assert all(isinstance(e, asyncio.CancelledError) or e == 50 + n for n, e in enumerate(ended))
                assert await beside == turn
            assert worker.front._channel.session_count == 1
            line = connection._sessions[0]._connection
            assert line is not None
            assert line._waiting == {}

    with running(serve_engine("Sum", pause_s=0.01), keys=KEYS, workers=2) as worker:
        run(scenario(worker))


def test_a_cancelled_request_leaves_the_handshake_to_others() -> None:
    async def scenario(worker: Running) -> None:
        for turn in range(10):
            async with connect(worker) as connection:
                first = asyncio.create_task(ask(connection, 1))
                second = asyncio.create_task(ask(connection, 2))
                await asyncio.sleep(0.001 * turn)
                first.cancel()
                assert await second == 2
                await asyncio.gather(first, return_exceptions=True)

    with running(keys=KEYS) as worker:
        run(scenario(worker))


def test_a_timeout_of_the_caller_s_own_ends_its_request_only() -> None:
    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            slow = asyncio.create_task(ask(connection, 9))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(connection, 8), 0.1)
            assert await slow == 9
            assert await ask(connection, 7) == 7

    with running(serve_engine("Sum", pause_s=0.4), keys=KEYS, workers=2, max_batch=1) as worker:
        run(scenario(worker))


def test_the_loop_is_never_held_up_for_long() -> None:
    """While 200 requests and their handshake are under way, a task that wants to run every 5 ms does."""

    async def scenario(worker: Running) -> None:
        late: list[float] = []

        async def beat() -> None:
            while True:
                start = time.perf_counter()
                await asyncio.sleep(0.005)
                late.append(time.perf_counter() - start - 0.005)

        async with connect(worker) as connection:
            heart = asyncio.create_task(beat())
            await asyncio.gather(*(ask(connection, n % 100) for n in range(200)))
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
        assert len(late) >= 10
        assert float(np.median(late)) < 0.05, "a busy machine adds its own; a blocked loop would add all of the run"

    with running(serve_engine("Sum", pause_s=0.005), keys=KEYS, max_batch=1) as worker:
        run(scenario(worker))


@pytest.mark.parametrize("limit", ["requests", "age"])
def test_a_used_up_session_is_replaced_without_losing_a_request(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr("securesplit.channel.client.MAX_SEQUENCE", 50 if limit == "requests" else 4096)
    monkeypatch.setattr("securesplit.channel.client.SESSION_AGE_S", 3600.0 if limit == "requests" else 0.2)

    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            start, n, answers = time.monotonic(), 0, []
            while n < 200 or worker.front._channel.session_count < 3:
                took_less_than(20, start, "handshakes take as long as they take, and then there are three")
                answers += await asyncio.gather(*(ask(connection, k % 100) for k in range(n, n + 20)))
                n += 20
            assert answers == [k % 100 for k in range(n)]

    with running(keys=KEYS, workers=2) as worker:
        run(scenario(worker))


def test_a_front_that_is_restarted_under_load_loses_nothing() -> None:
    async def scenario() -> None:
        with running(serve_engine("Sum", pause_s=0.01), keys=KEYS) as first:
            endpoint = first.front.endpoint
            connection = connect(first)
            assert await ask(connection, 1) == 1
            tasks = [asyncio.create_task(ask(connection, n)) for n in range(60)]
            await asyncio.sleep(0.1)
            await asyncio.to_thread(first.stop)
        with running(keys=KEYS, bind=endpoint):
            assert await asyncio.gather(*tasks) == list(range(60))
            await connection.close()

    run(scenario())


def test_the_next_endpoint_is_asked_where_one_does_not_answer(free_port: Callable[[], int]) -> None:
    async def scenario(worker: Running) -> None:
        endpoints = [f"tcp://127.0.0.1:{free_port()}", worker.front.endpoint]
        async with AsyncConnection(endpoints, CLIENT, IDENTITY) as connection:
            assert await asyncio.gather(*(ask(connection, n) for n in range(10))) == list(range(10))
            assert connection._selector.current == 1
            start = time.monotonic()
            assert await ask(connection, 4) == 4
            took_less_than(1.0, start, "it stays with the one that works")

    with running(keys=KEYS) as worker:
        run(scenario(worker))


def test_a_worker_that_is_busy_is_asked_again_later() -> None:
    async def scenario(worker: Running) -> None:
        async with connect(worker) as one, connect(worker) as other:
            both = [ask(connection, n) for n in range(30) for connection in (one, other)]
            assert await asyncio.gather(*both) == [n for n in range(30) for _ in range(2)]

    with running(serve_engine("Sum", pause_s=0.01), keys=KEYS, queue_limit=2, max_batch=1) as worker:
        run(scenario(worker))


def test_nothing_listening_is_noticed_within_seconds(free_port: Callable[[], int]) -> None:
    async def scenario() -> None:
        async with AsyncConnection([f"tcp://127.0.0.1:{free_port()}"], CLIENT, IDENTITY) as connection:
            start = time.monotonic()
            errors = await asyncio.gather(*(ask(connection, n) for n in range(5)), return_exceptions=True)
            took_less_than(6.0, start)
            assert all(isinstance(error, UnreachableError) for error in errors), errors
            assert "nothing listens there" in str(errors[0])

    run(scenario())


def test_a_silent_peer_costs_the_deadline_and_no_more() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
            timeouts = Timeouts(total_s=1.5, connect_s=0.5)
            async with AsyncConnection([endpoint], CLIENT, IDENTITY, timeouts=timeouts) as connection:
                start = time.monotonic()
                with pytest.raises(UnreachableError, match="no answer came"):
                    await ask(connection, 1)
                took_less_than(3.0, start)

    run(scenario())


def test_a_deadline_counts_the_wait_for_a_turn() -> None:
    async def scenario(worker: Running) -> None:
        async with connect(worker, timeouts=Timeouts(total_s=1.0)) as connection:
            ended = await asyncio.gather(*(ask(connection, n) for n in range(30)), return_exceptions=True)
            lost = [error for error in ended if isinstance(error, UnreachableError)]
            assert lost
            assert any("other requests of this client" in error.message for error in lost)

    with running(serve_engine("Sum", pause_s=0.3), keys=KEYS, max_batch=1) as worker:
        run(scenario(worker))


def test_refused_identities_are_final_for_all_who_wait() -> None:
    async def scenario(worker: Running) -> None:
        foreign = keystore.ephemeral(now())[1]
        for word, credentials, identity in (("bundle", CLIENT, bytes(32)), ("CA", foreign, IDENTITY)):
            async with AsyncConnection([worker.front.endpoint], credentials, identity) as connection:
                start = time.monotonic()
                errors = await asyncio.gather(*(ask(connection, n) for n in range(5)), return_exceptions=True)
                assert all(isinstance(error, TrustError) and word in error.message for error in errors), errors
                took_less_than(3.0, start)

    with running(keys=KEYS) as worker:
        run(scenario(worker))


def test_a_client_that_the_worker_refuses_learns_why() -> None:
    unlisted = (KEYS[0].__class__(**{**vars(KEYS[0]), "allowed_clients": frozenset()}), CLIENT)

    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            errors = await asyncio.gather(*(ask(connection, n) for n in range(5)), return_exceptions=True)
            assert all(isinstance(error, TrustError) and "allow-list" in error.message for error in errors), errors

    with running(keys=unlisted) as worker:
        run(scenario(worker))


def test_what_cannot_be_computed_is_its_own_error_only() -> None:
    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            await ask(connection, 1)
            mixed = [ask(connection, n if n % 5 else RAISING) for n in range(20)]
            ended = await asyncio.gather(*mixed, return_exceptions=True)
            for n, end in enumerate(ended):
                assert (end == n) if n % 5 else isinstance(end, WorkerError), (n, end)
            assert worker.front._channel.session_count == 1

    with running(serve_engine("Moody"), keys=KEYS) as worker:
        run(scenario(worker))


def test_closing_tells_those_who_wait() -> None:
    async def scenario(worker: Running) -> None:
        connection = connect(worker)
        assert await ask(connection, 1) == 1
        waiting = [asyncio.create_task(ask(connection, n)) for n in range(12)]
        await asyncio.sleep(0.1)
        await connection.close()
        await connection.close()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, UnreachableError) and "closed" in error.message for error in ended), ended
        with pytest.raises(UnreachableError, match="closed"):
            await ask(connection, 2)

    with running(serve_engine("Sum", pause_s=0.5), keys=KEYS, max_batch=1) as worker:
        run(scenario(worker))


def test_new_credentials_take_effect_at_the_next_request() -> None:
    async def scenario(worker: Running) -> None:
        async with connect(worker) as connection:
            assert await ask(connection, 1) == 1
            waiting = asyncio.create_task(ask(connection, 2))
            await asyncio.sleep(0.05)
            connection.renew(keystore.ephemeral(now())[1])
            with pytest.raises(TrustError):
                await ask(connection, 3)
            assert await waiting == 2
            connection.renew(CLIENT)
            assert await ask(connection, 4) == 4

    with running(serve_engine("Sum", pause_s=0.3), keys=KEYS) as worker:
        run(scenario(worker))


def test_there_must_be_an_endpoint() -> None:
    for endpoints in ([], ["nonsense"]):
        with pytest.raises(ConfigError):
            AsyncConnection(endpoints, CLIENT, IDENTITY)


def test_another_loop_is_refused_at_once_and_may_close() -> None:
    """A socket's answer never wakes a loop that has ended: each request would wait for two tries, 16 s."""
    with running(keys=KEYS) as worker:
        connection = connect(worker)
        assert asyncio.run(ask(connection, 1)) == 1
        start = time.monotonic()
        with pytest.raises(ConfigError, match="another event loop") as caught:
            asyncio.run(ask(connection, 2))
        took_less_than(3.0, start)
        assert caught.value.hint
        asyncio.run(connection.close())


def test_a_request_to_a_worker_that_has_just_gone_leaves_no_complaint() -> None:
    """The loop stood still while it went, so that nobody has read of that."""

    async def scenario(worker: Running, other: Running) -> None:
        nat = Nat(worker.front.endpoint)
        async with AsyncConnection([nat.endpoint, other.front.endpoint], CLIENT, IDENTITY) as connection:
            assert await ask(connection, 1) == 1
            nat.close()
            time.sleep(0.2)
            assert await ask(connection, 2) == 2

    with running(keys=KEYS) as worker, running(keys=KEYS) as other:
        run(scenario(worker, other))


def test_a_connection_that_ends_as_soon_as_it_is_up_is_lost() -> None:
    """Before the task that waits for it runs again: by the worker, or by a client that is closed."""

    def come() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(ROUTER)
            while peer.recv(1 << 10):
                pass

    async def scenario() -> None:
        context, channel = zmq.asyncio.Context(), ClientChannel(CLIENT, IDENTITY, "127.0.0.1")
        address = Endpoint(*listener.getsockname())
        connection = MultiplexedConnection(context, address, channel)
        opening = asyncio.ensure_future(connection.open(3.0))
        while not connection.is_up:
            await asyncio.sleep(0)
        connection.fail(TransportError(Fault.LOST))
        with pytest.raises(TransportError, match="the connection was lost"):
            await opening
        context.term()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=come, daemon=True).start()
        run(scenario())
