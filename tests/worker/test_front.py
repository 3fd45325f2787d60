"""The front over real sockets: once computed, fair, bounded, and honest about being busy."""

from __future__ import annotations

import itertools
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zmq

from securesplit.channel import tensor
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import HandshakeReady, Refused, Reply
from securesplit.channel.frames import Code
from securesplit.errors import TrustError
from securesplit.pki import issuing, keystore
from securesplit.pki.credentials import Credentials
from securesplit.transport.connection import Connection
from securesplit.transport.poll import Wakeup
from securesplit.worker import admission, inflight, pacing
from securesplit_testing.serving import IDENTITY, Running, now, release, running, serve_engine, wait_until
from securesplit_testing.threads import beside


class Raw:
    """A client that sends what it likes and when: the real channel over a DEALER."""

    def __init__(
        self, worker: Running, context: zmq.Context[zmq.Socket[bytes]], credentials: Credentials | None = None
    ) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.connect(worker.front.endpoint)
        self.channel = ClientChannel(credentials or worker.credentials, IDENTITY, "127.0.0.1")
        self.send(self.channel.hello())
        assert isinstance(self.receive(), HandshakeReady)

    def send(self, frame: bytes) -> None:
        self._socket.send_multipart([b"", frame])

    def ask(self, ref: int, first: int = 1, budget_ms: int = 20_000) -> None:
        self.send(self.channel.request(ref, struct.pack(">II", budget_ms, 0) + tensor.encode(release(first))))

    def receive(self, within_s: float = 10.0) -> HandshakeReady | Reply | Refused | None:
        if not self._socket.poll(round(within_s * 1_000)):
            return None
        return self.channel.receive(self._socket.recv_multipart()[-1])

    def close(self) -> None:
        self._socket.close(linger=0)


RawClient = Callable[..., Raw]
REFS = itertools.count(1)


@pytest.fixture
def raw() -> Iterator[RawClient]:
    context, clients = zmq.Context(), []

    def make(worker: Running, credentials: Credentials | None = None) -> Raw:
        clients.append(Raw(worker, context, credentials))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
    context.term()


def logit(event: object) -> float:
    assert isinstance(event, Reply)
    return float(np.frombuffer(event.plaintext, "<f4", offset=32)[0])


def test_a_repeated_request_is_computed_once(raw: RawClient, tmp_path: Path) -> None:
    log = tmp_path / "computed"
    with running(serve_engine("Counting", log=str(log), pause_s=0.4), confine=False) as worker:
        client = raw(worker)
        for _ in range(3):
            client.ask(ref=1, first=9)
        assert logit(client.receive()) == 9
        assert client.receive(0.6) is None, "one answer for the repetitions that came before it"
        client.ask(ref=1, first=9)
        assert logit(client.receive()) == 9
        assert len(log.read_text().splitlines()) == 1


def test_an_answer_is_forgotten_in_time_by_a_front_that_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(serve_engine()) as worker:
        with worker.connect() as connection:
            connection.request(release(1))
        remembered = worker.front._dispatcher._answers
        assert remembered.held_bytes
        monkeypatch.setattr(inflight, "_ANSWER_AGE_S", 0.0)
        wait_until(lambda: not remembered.held_bytes)


def test_a_session_over_its_cap_gets_busy_with_a_delay(raw: RawClient) -> None:
    with running(serve_engine("Sum", pause_s=0.3), session_limit=3) as worker:
        client = raw(worker)
        for ref in range(1, 6):
            client.ask(ref)
        events = [client.receive() for _ in range(5)]
        refused = [event for event in events if isinstance(event, Refused)]
        assert [event.ref for event in refused] == [4, 5]
        assert all(event.code is Code.BUSY and event.retry_after_s > 0 for event in refused)
        client.ask(4)
        assert logit(client.receive()) == 1


def test_a_client_over_its_bound_is_rejected_before_unsealing(raw: RawClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(serve_engine()) as worker:
        client = raw(worker)
        client.ask(6)
        assert logit(client.receive()) == 1, "the first one comes with the end of the handshake, and waits for nobody"
        monkeypatch.setattr(admission, "MESSAGES_A_CLIENT", 0)
        client.ask(7)
        refused = client.receive()
        assert isinstance(refused, Refused)
        assert (refused.code, refused.ref) == (Code.BUSY, 7)
        assert worker.front.counters.turned_away["client-limit"] == 1
        monkeypatch.setattr(admission, "MESSAGES_A_CLIENT", 1)
        client.ask(7)
        assert logit(client.receive()) == 1


def test_a_full_queue_answers_busy_and_all_are_served_in_the_end() -> None:
    with running(serve_engine("Sum", pause_s=0.02), queue_limit=2, max_batch=1) as worker:
        connections = [worker.connect() for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda n: connections[n].request(release(n)).logit, range(8)))
        assert answers == list(range(8))
        for connection in connections:
            connection.close()


def test_what_nobody_waits_for_any_more_is_not_computed(raw: RawClient, tmp_path: Path) -> None:
    log = tmp_path / "computed"
    with running(serve_engine("Counting", log=str(log), pause_s=0.5), max_batch=1, confine=False) as worker:
        client = raw(worker)
        client.ask(1, first=1)
        client.ask(2, first=2, budget_ms=100)
        assert logit(client.receive()) == 1
        assert client.receive(0.8) is None
        assert [line[1] for line in log.read_text().splitlines()] == ["1"]
        client.ask(3, first=3)
        assert logit(client.receive()) == 3


GREEDY = ("greedy-1", "greedy-2", "greedy-3")


@pytest.fixture
def crowd(tmp_path: Path) -> dict[str, tuple[Credentials, Credentials]]:
    """The worker's credentials and those of a modest client and of greedy ones, by the client's name."""
    names = ["modest", *GREEDY]
    issuing.create(tmp_path / "crowd", server_names=["127.0.0.1"], clients=names, days=1, now=now())
    server = keystore.load_server(tmp_path / "crowd", now=now())
    return {name: (server, keystore.load_client(tmp_path / "crowd", name, now=now())) for name in names}


def test_greedy_clients_take_no_place_of_others(
    raw: RawClient, crowd: dict[str, tuple[Credentials, Credentials]]
) -> None:
    """Three clients with 36 sessions want 288 places of 64, and more as soon as they have one."""
    with running(serve_engine("Sum", pause_s=0.01), keys=crowd["modest"], max_batch=1, queue_limit=64) as worker:
        modest, counters = raw(worker), worker.front.counters
        greedy = [raw(worker, crowd[name][1]) for name in GREEDY for _ in range(12)]
        before_its_own = []
        with beside(partial(keep_full, greedy)):
            wait_until(lambda: counters.turned_away["queue-full"] > 100)
            for _ in range(25):
                done = counters.requests["done"]
                assert is_answered(modest), "never refused"
                before_its_own.append(counters.requests["done"] - done - 1)
            assert worker.front.pool.waiting > 48, "the queue is full all the time"
    assert np.median(before_its_own) <= 4, "what runs already, and what is done until it is read and sent"


def test_a_client_has_a_share_over_all_its_sessions(
    raw: RawClient, crowd: dict[str, tuple[Credentials, Credentials]]
) -> None:
    with running(serve_engine("Sum", pause_s=0.2), keys=crowd["modest"], client_limit=10) as worker:
        greedy = [raw(worker, crowd[GREEDY[0]][1]) for _ in range(4)]
        for turn in range(8):
            for client in greedy:
                client.ask(turn + 1)
        events = [client.receive() for client in greedy for _ in range(8)]
        assert sum(isinstance(event, Reply) for event in events) == 10
        assert all(event.code is Code.BUSY for event in events if isinstance(event, Refused))
        assert is_answered(raw(worker))


@pytest.mark.parametrize("refused", ["busy", "replayed", "senseless"])
def test_ignored_refusals_are_answered_at_the_stated_pace(
    raw: RawClient, crowd: dict[str, tuple[Credentials, Credentials]], refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It asks again as soon as it is refused; what it costs the front does not depend on how fast it is."""
    with running(serve_engine("Sum", pause_s=0.05), keys=crowd["modest"], client_limit=1) as worker:
        modest, greedy = raw(worker), [raw(worker, crowd[GREEDY[0]][1]) for _ in range(4)]
        assert all(is_answered(client) for client in [modest, *greedy])
        start, refusals = time.monotonic(), 0
        frames = [client.channel.request(1_000, b"no request") for client in greedy]

        def ask_again(client: Raw, frame: bytes) -> None:
            if refused == "busy":
                client.ask(next(REFS))
            else:
                client.send(frame if refused == "replayed" else client.channel.request(next(REFS), b"no request"))

        def keep_asking(stop: threading.Event) -> None:
            nonlocal refusals
            for _ in range(8):
                for client, frame in zip(greedy, frames, strict=True):
                    ask_again(client, frame)
            while not stop.is_set():
                for client, frame in zip(greedy, frames, strict=True):
                    while (event := client.receive(0.0)) is not None:
                        refusals += isinstance(event, Refused)
                        ask_again(client, frame)

        with beside(keep_asking):
            while time.monotonic() - start < 1.5:
                assert is_answered(modest)
        most = pacing.BURST + pacing.PER_S * (time.monotonic() - start) + 1
    assert pacing.BURST < refusals <= most
    assert sum("refused a request" in line for line in caplog.messages) <= (3 if refused == "senseless" else 1)


def is_answered(client: Raw) -> bool:
    """Whether one more request is answered and not refused."""
    client.ask(next(REFS))
    return isinstance(client.receive(), Reply)


def keep_full(clients: list[Raw], stop: threading.Event) -> None:
    """Keep eight requests of each client in flight, and ask again at once where one was refused."""
    for client in clients * 8:
        client.ask(next(REFS))
    while not stop.is_set():
        for client in clients:
            while client.receive(0.0) is not None:
                client.ask(next(REFS))
        stop.wait(0.005)


def test_the_client_learns_that_it_was_revoked_on_an_open_session() -> None:
    keys = keystore.ephemeral(now())
    with running(keys=keys) as worker, worker.connect() as connection:
        assert connection.request(release(1)).logit == 1
        changed = keystore.ephemeral(now())[0]
        worker.front.reload(lambda: changed)
        wait_until(lambda: worker.front._channel.session_count == 0)
        with pytest.raises(TrustError):
            connection.request(release(2))


def test_a_reload_that_fails_leaves_the_old_certificates(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with running() as worker, worker.connect() as connection:
        worker.front.reload(lambda: keystore.load_server(tmp_path, now=now()))
        wait_until(lambda: "not reloaded" in caplog.text)
        assert connection.request(release(1)).logit == 1


def test_a_draining_front_finishes_and_accepts_nothing_new(raw: RawClient) -> None:
    with running(serve_engine("Sum", pause_s=0.6)) as worker:
        client, late = raw(worker), raw(worker)
        client.ask(1, first=5)
        wait_until(lambda: worker.front.pool.tails["busy"] == 1)
        worker.front.stop(10.0)
        client.ask(2)
        late.ask(1)
        refusals = [client.receive(), late.receive()]
        assert all(isinstance(event, Refused) and event.code is Code.DRAIN for event in refusals)
        late.send(late.channel.hello())
        event = late.receive()
        assert isinstance(event, Refused)
        assert event.code is Code.DRAIN
        assert logit(client.receive()) == 5


def test_what_asks_a_front_that_has_ended_is_not_told_so(raw: RawClient) -> None:
    """A second signal, the thread that watches the folder: what comes while a front ends also comes after it."""
    with running() as worker:
        assert is_answered(raw(worker))
    front = worker.front
    front.stop(0.0)
    front.reload(lambda: pytest.fail("it has ended"))
    assert os.write(front.wakeup.signal_fd, b"\0") == 1
    assert front.status().is_draining


def test_a_wakeup_that_nobody_has_leaves_no_descriptor() -> None:
    wakeup = Wakeup()
    ends = wakeup._in, wakeup._out
    del wakeup
    assert [end.fileno() for end in ends] == [-1, -1]


def test_a_client_goes_elsewhere_when_its_worker_drains(raw: RawClient) -> None:
    keys = keystore.ephemeral(now())
    with running(serve_engine("Sum", pause_s=0.5), keys=keys) as first, running(keys=keys) as second:
        with Connection([first.front.endpoint, second.front.endpoint], keys[1], IDENTITY) as connection:
            assert connection.request(release(1)).logit == 1
            blocker = raw(first)
            blocker.ask(1)
            wait_until(lambda: first.front.pool.tails["busy"] == 1)
            first.front.stop(5.0)
            assert connection.request(release(2)).logit == 2
            assert logit(blocker.receive()) == 1
