"""The client's connection against real workers that are there, absent, restarted, busy, or somebody else."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import zmq

from securesplit.channel.payload import MAX_RELEASE_BYTES
from securesplit.channel.sealing import MAX_SEQUENCE
from securesplit.channel.tensor import TensorSpec
from securesplit.errors import ConfigError, TrustError, UnreachableError, WorkerError
from securesplit.pki import keystore
from securesplit.transport.connection import Connection, Timeouts
from securesplit.transport.sockets import client_socket, new_context
from securesplit_testing.engines import RAISING
from securesplit_testing.serving import IDENTITY, now, release, running, serve_engine
from securesplit_testing.timing import took_less_than

KEYS = keystore.ephemeral(now())
CLIENT = KEYS[1]


@pytest.fixture
def stranger() -> Iterator[str]:
    """A TCP server that is not a worker: it says something else and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_came_before_a_worker_hung_up_is_read() -> None:
    """A draining worker sends its last answer and ends; a busy device looks at both at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener, zmq.Context() as context:
        client = client_socket(context, ipv6=False)
        with client, client.get_monitor_socket(zmq.EVENT_DISCONNECTED) as ended:
            client.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"answer")
            assert ended.poll(10_000)
            time.sleep(0.1)  # what libzmq's thread has to say of it comes behind that
            assert client.getsockopt(zmq.EVENTS) & zmq.POLLIN
            assert [client.recv_multipart(zmq.NOBLOCK)[1] for _ in range(2)] == [b"", b"answer"]
            client.disable_monitor()


def test_one_session_serves_many_requests() -> None:
    with running() as worker, worker.connect() as connection:
        answers = [connection.request(release(n)) for n in range(20)]
        assert [a.logit for a in answers] == list(range(20))
        assert worker.front._channel.session_count == 1
        assert len({a.payload_bytes for a in answers}) == 1
        assert len(answers[5].frame) == answers[5].payload_bytes == 40 + 8 + 32 + 8 + 16
        assert all(0 <= a.tail_ms < a.round_trip_ms for a in answers)


def test_the_largest_release_travels_as_the_first_request_too() -> None:
    spec = TensorSpec((MAX_RELEASE_BYTES,), "uint8")
    with running(replace(serve_engine(), presets={spec: "none"}), keys=KEYS) as worker, worker.connect() as connection:
        for first in (1, 2):
            sent = np.zeros(spec.shape, spec.dtype)
            sent[0] = first
            assert connection.request(sent).logit == first


def test_any_thread_may_ask() -> None:
    with running(workers=2) as worker, worker.connect() as connection, ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda n: connection.request(release(n)).logit, range(100))
        assert list(answers) == list(range(100))


def test_the_wire_never_shows_the_release() -> None:
    secret = np.array([11, 22, 33, 44, 55, 66, 77, 88], np.int8)
    with running() as worker, worker.connect() as connection:
        for _ in range(2):
            assert secret.tobytes() not in connection.request(secret).frame


def test_nothing_listening_is_noticed_within_seconds(free_port: Callable[[], int]) -> None:
    endpoint, start = f"tcp://127.0.0.1:{free_port()}", time.monotonic()
    with Connection([endpoint], CLIENT, IDENTITY) as connection:
        with pytest.raises(UnreachableError, match="nothing listens there") as caught:
            connection.request(release(1))
    took_less_than(4.0, start)
    assert f"tail-worker --bind {endpoint}" in caught.value.hint


def test_a_name_without_an_address_is_noticed_within_seconds() -> None:
    with Connection(["tcp://no-such-host.invalid:5"], CLIENT, IDENTITY) as connection:
        with pytest.raises(UnreachableError, match="no address"):
            connection.request(release(1))


def test_a_stranger_at_the_address_is_noticed_within_seconds(stranger: str) -> None:
    with Connection([stranger], CLIENT, IDENTITY) as connection, pytest.raises(UnreachableError, match="no worker"):
        connection.request(release(1))


def test_a_silent_peer_costs_the_deadline_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        timeouts = Timeouts(total_s=1.5, connect_s=0.5)
        with Connection([endpoint], CLIENT, IDENTITY, timeouts=timeouts) as connection:
            start = time.monotonic()
            with pytest.raises(UnreachableError, match="no answer came"):
                connection.request(release(1))
        took_less_than(3.0, start)


def test_a_worker_that_is_started_a_little_late_is_found(free_port: Callable[[], int]) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Connection([endpoint], CLIENT, IDENTITY) as connection, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(connection.request, release(7))
        time.sleep(0.5)
        with running(keys=KEYS, bind=endpoint):
            assert asked.result(20).logit == 7


def test_the_next_endpoint_is_asked_where_one_does_not_answer(free_port: Callable[[], int]) -> None:
    with running(keys=KEYS) as worker:
        endpoints = [f"tcp://127.0.0.1:{free_port()}", worker.front.endpoint]
        with Connection(endpoints, CLIENT, IDENTITY) as connection:
            assert connection.request(release(3)).logit == 3
            start = time.monotonic()
            assert connection.request(release(4)).logit == 4
            took_less_than(0.5, start, "it stays with the one that works")


def test_a_name_with_several_addresses_is_tried_at_each() -> None:
    with running(keys=KEYS) as worker:
        port = worker.front.endpoint.rpartition(":")[2]
        with Connection([f"tcp://localhost:{port}"], CLIENT, IDENTITY) as connection:
            assert connection.request(release(3)).logit == 3


def test_a_front_that_is_restarted_between_requests_costs_nothing() -> None:
    with running(keys=KEYS) as first, first.connect() as connection:
        assert connection.request(release(1)).logit == 1
        endpoint = first.front.endpoint
        first.stop()
        with running(keys=KEYS, bind=endpoint):
            assert connection.request(release(2)).logit == 2


def test_a_worker_that_dies_is_retried_until_the_deadline() -> None:
    with running(serve_engine("Sum", pause_s=5.0), keys=KEYS) as worker:
        connection = worker.connect(timeouts=Timeouts(total_s=3.0, absent_s=0.5))
        with connection, ThreadPoolExecutor(1) as threads:
            start = time.monotonic()
            asked = threads.submit(connection.request, release(1))
            time.sleep(0.5)
            worker.stop()
            with pytest.raises(UnreachableError, match=r"within (2|2\.\d|3) s"):
                asked.result(20)
            took_less_than(5.0, start)
            start = time.monotonic()
            with pytest.raises(UnreachableError):
                connection.request(release(2))
            took_less_than(2.0, start, "the next photo does not wait as long")


def test_a_failed_computation_leaves_the_next_request_fine() -> None:
    with running(serve_engine("Moody")) as worker, worker.connect() as connection:
        with pytest.raises(WorkerError, match="could not compute") as caught:
            connection.request(release(RAISING))
        assert caught.value.hint
        assert connection.request(release(2)).logit == 2


def test_a_release_of_another_shape_is_an_error_at_once() -> None:
    with running() as worker, worker.connect() as connection:
        with pytest.raises(WorkerError):
            connection.request(np.zeros((3, 3), np.int8))
        assert connection.request(release(2)).logit == 2


def test_refused_identities_are_final() -> None:
    foreign = keystore.ephemeral(now())[1]
    cases = [
        ("bundle", CLIENT, bytes(32), None),
        ("CA", foreign, IDENTITY, None),
        ("name", CLIENT, IDENTITY, "elsewhere.example"),
    ]
    with running(keys=KEYS) as worker:
        for word, credentials, identity, name in cases:
            start = time.monotonic()
            with Connection([worker.front.endpoint], credentials, identity, server_name=name) as connection:
                with pytest.raises(TrustError, match=word) as caught:
                    connection.request(release(1))
            assert caught.value.hint
            took_less_than(2.0, start)


def test_a_server_certificate_that_has_expired_is_final() -> None:
    old = keystore.ephemeral(now() - timedelta(days=800))
    with running(keys=old) as worker, worker.connect() as connection, pytest.raises(TrustError, match="expired"):
        connection.request(release(1))


def test_a_used_up_session_is_replaced_without_losing_a_request() -> None:
    with running() as worker, worker.connect() as connection:
        assert connection.request(release(1)).logit == 1
        sealer = connection._opened.value.sessions[0]._channel._sealer
        assert sealer is not None
        sealer.sequence = MAX_SEQUENCE - 10  # `tests/channel/test_server.py` seals all of them
        for n in range(20):
            assert connection.request(release(n)).logit == n
        assert sealer.sequence == MAX_SEQUENCE, "it was used to its end"
        assert worker.front._channel.session_count == 2


@pytest.mark.parametrize("limit", ["requests", "age"])
def test_rekeying_between_requests_loses_none(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """The same with smaller limits, and by age: the worker has several sessions, the caller notices nothing."""
    monkeypatch.setattr("securesplit.channel.client.MAX_SEQUENCE", 20 if limit == "requests" else MAX_SEQUENCE)
    monkeypatch.setattr("securesplit.channel.client.SESSION_AGE_S", 3600.0 if limit == "requests" else 0.1)
    with running() as worker, worker.connect() as connection:
        start, n = time.monotonic(), 0
        while n < 100 or worker.front._channel.session_count < 4:
            took_less_than(20, start, "handshakes take as long as they take, and then there are four")
            assert connection.request(release(n % 100)).logit == n % 100
            n += 1


def test_a_forked_process_makes_its_own_session() -> None:
    with running(keys=KEYS) as worker, worker.connect() as connection:
        assert connection.request(release(1)).logit == 1
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if connection.request(release(2)).logit == 2 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert connection.request(release(3)).logit == 3
        assert worker.front._channel.session_count == 2


def test_there_must_be_an_endpoint() -> None:
    with pytest.raises(ConfigError):
        Connection([], CLIENT, IDENTITY)
    with pytest.raises(ConfigError):
        Connection(["nonsense"], CLIENT, IDENTITY)


def test_closing_twice_is_fine() -> None:
    connection = Connection(["tcp://127.0.0.1:5"], CLIENT, IDENTITY)
    connection.close()
    connection.close()


def test_a_null_device_that_is_broken_is_not_taken_for_too_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a bare chroot, or where a script of root's has replaced it."""
    monkeypatch.setattr(os, "devnull", str(tmp_path / "null"))
    with pytest.raises(ConfigError, match=r"null cannot be opened \(No such file"):
        new_context()
