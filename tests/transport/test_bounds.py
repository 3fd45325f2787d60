"""Peers that never end: each is thrown out while it sends, costs a bounded amount, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import zmq

from securesplit.channel.frames import Code, Frame, FrameType, decode
from securesplit.channel.frames import encode as encode_frame
from securesplit.errors import SecureSplitError, UnreachableError
from securesplit.pki import issuing, keystore
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection, Timeouts
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.peers import PeerTable
from securesplit.transport.server import FrontSocket
from securesplit.transport.sockets import SocketLimits
from securesplit.transport.worker_session import ReqConnection
from securesplit.transport.zmtp import GREETING, encode
from securesplit.worker.resources import resident_bytes
from securesplit_testing.serving import IDENTITY, Process, process, release, running, wait_until
from securesplit_testing.threads import beside
from securesplit_testing.timing import took_less_than
from tests.transport.raw import REQ, ROUTER, UNKNOWN, Probe, command, connect, listener, pour

MB = 1_000_000
TOTAL_S = 0.8  # of a request that no worker answers
LONG = b"\x03" + (1 << 16).to_bytes(8, "big") + bytes(1 << 16)
PING = command(b"PING", bytes(2))
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "one finished message of a million parts": (REQ, b"\x01\x00" * 1_000_000 + b"\x00\x00"),
    "empty parts": (REQ, b"\x01\x00" * 4_000),
    "small parts": (REQ, (b"\x01\x20" + bytes(32)) * 100),
    "long parts": (REQ, LONG),
    "one part that is too long": (REQ, b"\x02" + (1 << 40).to_bytes(8, "big") + bytes(1 << 16)),
    "empty messages": (REQ, b"\x00\x00" * 4_000),
    "messages of the right form": (REQ, encode([b"", b""]) * 1_000),
    "requests of no session": (REQ, UNKNOWN * 100),
    "pings": (REQ, PING * 100),
    "pings within a message": (REQ + b"\x01\x00", PING * 100),
    "unknown commands": (REQ, command(b"HELLO", bytes(100))),
    "greetings": (b"", GREETING),
    "properties of READY": (
        GREETING + b"\x06" + (1 << 30).to_bytes(8, "big") + b"\x05READY",
        b"\x01x\x00\x00\x00\x00" * 999,
    ),
    "a greeting of zeros": (b"", bytes(1 << 16)),
}


def resident_mb(pid: int) -> float:
    return resident_bytes(pid) / MB


@contextlib.contextmanager
def costs_less_than(most_mb: float, pid: int) -> Iterator[None]:
    """Check that a process takes at no moment so much more than it took at first."""
    before, seen = resident_mb(pid), [0.0]

    def look(over: threading.Event) -> None:
        while not over.wait(0.005):
            seen.append(resident_mb(pid))

    with beside(look):
        yield
    assert max(seen) - before < most_mb


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    certs = tmp_path_factory.mktemp("bounds") / "certs"
    issuing.create(certs, server_names=["127.0.0.1"], clients=["device"], days=1, now=datetime.now(UTC))
    with process(certs) as started:
        yield started


def ends_silently(peer: socket.socket) -> bool:
    """Whether the other end hangs up on somebody who reads nothing."""
    poller = select.poll()
    poller.register(peer, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
    return bool(poller.poll(1_000))


@pytest.mark.parametrize("kind", ENDLESS)
def test_the_front_throws_out_who_does_not_end(worker: Process, kind: str) -> None:
    hello, again = ENDLESS[kind]
    with costs_less_than(20, worker.pid), Probe(worker.endpoint) as probe, connect(worker.endpoint, hello) as peer:
        thrown_out: list[bool] = []
        worst, thread = 0.0, threading.Thread(target=lambda: thrown_out.append(pour(peer, lambda: again, 40 * MB)))
        thread.start()
        while thread.is_alive():
            worst = max(worst, probe.ask_ms())
        thread.join()
    assert thrown_out == [True]
    assert worst < 500, "on a loaded machine; alone it is 10 ms"


def test_six_megabytes_of_empty_parts_hold_nobody_up(worker: Process) -> None:
    """What stopped the front for 40 s and took 600 MB when whole messages were looked at."""
    with costs_less_than(20, worker.pid), Probe(worker.endpoint) as probe:
        quiet = max(probe.ask_ms() for _ in range(20))
        worst = 0.0
        for _ in range(5):
            with connect(worker.endpoint) as peer:
                assert pour(peer, lambda: b"\x01\x00" * 3_000_000, 6 * MB)
                worst = max(worst, probe.ask_ms())
    assert worst < quiet + 100


def test_many_unfinished_messages_are_bounded_together(worker: Process) -> None:
    """Each of 100 peers keeps within its own bound, and never finishes."""
    unfinished = b"\x01\x00\x02" + (1_000_000).to_bytes(8, "big") + bytes(900_000)
    with costs_less_than(45, worker.pid), contextlib.ExitStack() as peers:  # 16 MiB, and 100 connections of libzmq
        for _ in range(100):
            pour(peers.enter_context(connect(worker.endpoint)), lambda: unfinished, 900_000)
        with Probe(worker.endpoint) as probe:
            assert probe.ask_ms() < 1_000


def test_a_peer_that_reads_nothing_is_thrown_out(worker: Process) -> None:
    with connect(worker.endpoint) as peer, Probe(worker.endpoint) as probe:
        peer.sendall(UNKNOWN * 50)
        assert not ends_silently(peer)
        probe.ask_ms()
        with contextlib.suppress(OSError):
            peer.sendall(UNKNOWN * 50)
        assert ends_silently(peer)


def test_what_a_peer_reads_is_no_burden_to_it(worker: Process) -> None:
    """Far more answers than may be left unread, over a stock socket, which answers the PINGs by itself."""
    with zmq.Context() as context:
        stock = context.socket(zmq.DEALER)
        stock.linger = 0
        stock.rcvtimeo = 5_000
        stock.connect(worker.endpoint)
        for _ in range(300):
            stock.send_multipart([b"", UNKNOWN[4:]])
            assert stock.recv_multipart()[1].startswith(b"SSP1")
        stock.close()


@pytest.mark.parametrize("correlated", [False, True])
def test_a_stock_req_is_answered(worker: Process, correlated: bool) -> None:
    with zmq.Context() as context:
        stock = context.socket(zmq.REQ)
        stock.linger = 0
        stock.rcvtimeo = 5_000
        stock.req_correlate = correlated
        stock.heartbeat_ivl = 50
        stock.connect(worker.endpoint)
        for _ in range(3):
            stock.send(UNKNOWN[4:])
            assert stock.recv().startswith(b"SSP1")
            time.sleep(0.12)
        stock.close()


def test_peers_over_the_bound_go_those_without_a_greeting_first() -> None:
    table = PeerTable(SocketLimits(max_peers=32))
    honest = [bytes([n]) for n in range(30)]
    for name in honest:
        table.receive(table.add(name, f"10.0.0.{name[0]}", 1.0), REQ, 1.0)
    for n in range(1_000):
        table.add(b"x%d" % n, "10.0.1.1", 2.0)
        assert len(table) <= 32
    assert all(table.find(name) is not None for name in honest)
    assert {why for _, why in table.dropped} == {"peer-crowd"}


def test_peers_over_the_bound_go_of_the_owner_that_has_most() -> None:
    table = PeerTable(SocketLimits(max_peers=32))
    honest = [bytes([n]) for n in range(8)]
    for n in range(1_000):
        if n < 8:
            table.receive(table.add(honest[n], f"10.0.0.{n}", 1.0), REQ, 1.0)
        table.receive(table.add(b"x%d" % n, "10.0.1.1", 2.0), REQ, 2.0)
    assert all(table.find(name) is not None for name in honest)


def test_of_an_owner_s_connections_the_longest_silent_goes_first() -> None:
    table = PeerTable(SocketLimits(max_peers=32))
    for n in range(32):
        table.receive(table.add(b"%d" % n, "10.0.0.1", 0.0), REQ, 100.0 - n)
    table.add(b"new", "10.0.0.1", 200.0)
    assert table.dropped == [(b"31", "peer-crowd")]


@pytest.mark.parametrize("parts", [[b"x"], [b"no delimiter", b"x"]])
def test_a_message_has_the_delimiter_of_a_req(parts: list[bytes]) -> None:
    table = PeerTable(SocketLimits())
    table.receive(table.add(b"peer", "10.0.0.1", 0.0), REQ + encode(parts), 0.0)
    assert table.dropped == [(b"peer", "peer-protocol")]


def test_a_peer_holds_no_more_than_its_share() -> None:
    """However few messages it sends, and however little the others hold."""
    limits = SocketLimits(held_bytes_per_peer=100_000)
    table = PeerTable(limits)
    peer = table.add(b"greedy", "10.0.0.1", 0.0)
    table.receive(peer, REQ + encode([b"", bytes(30_000)]) * 3, 0.0)
    assert table.find(b"greedy") is peer
    table.receive(peer, encode([b"", bytes(30_000)])[:-1], 0.0)
    assert table.dropped == [(b"greedy", "peer-protocol")]


def test_bytes_over_the_bound_cost_the_owner_that_holds_most() -> None:
    table = PeerTable(SocketLimits(held_bytes=1_000_000))
    slow = table.add(b"slow", "10.0.0.1", 0.0)
    table.receive(slow, REQ + b"\x01\x00\x02" + (900_000).to_bytes(8, "big") + bytes(300_000), 0.0)
    for n in range(200):
        table.receive(table.add(b"x%d" % n, "10.0.1.1", 0.0), REQ + b"\x00\xff" + bytes(200), 0.0)
    for n in range(200):
        flood = REQ + b"\x01\x00\x02" + (30_000).to_bytes(8, "big") + bytes(20_000)
        table.receive(table.add(b"y%d" % n, "10.0.1.1", 0.0), flood, 0.0)
    assert table.find(b"slow") is slow
    assert {why for _, why in table.dropped} >= {"peer-memory"}


def test_bytes_of_peers_that_were_dropped_make_no_room_for_others() -> None:
    """They are counted until they go, also where they came with what a peer is dropped for."""
    limits = SocketLimits(held_bytes=1_000_000)
    table = PeerTable(limits)
    too_many = REQ + encode([b"", bytes(10_000)]) * (limits.waiting_messages + 1)
    for n in range(50):
        table.receive(table.add(b"x%d" % n, "10.0.0.1", 0.0), too_many, 0.0)
    assert [why for _, why in table.dropped] == ["peer-protocol"] * 50
    unfinished = REQ + b"\x01\x00\x02" + (30_000).to_bytes(8, "big") + bytes(20_000)
    for n in range(60):
        table.receive(table.add(b"y%d" % n, "10.0.1.1", 0.0), unfinished, 0.0)
    assert {why for _, why in table.dropped[50:]} == {"peer-memory"}


def test_what_was_taken_is_held_no_longer() -> None:
    table = PeerTable(SocketLimits(held_bytes=1_000_000))
    for n in range(60):
        table.receive(table.add(b"x%d" % n, "10.0.0.1", 0.0), REQ + encode([b"", bytes(20_000)]), 0.0)
        assert table.next_message() is not None
    assert table.dropped == []


def test_many_connections_give_a_client_no_more_than_one_does() -> None:
    table, names = PeerTable(SocketLimits()), [b"x%d" % n for n in range(50)]
    for name in [*names, b"modest"]:
        table.receive(table.add(name, "10.0.0.1", 0.0), REQ, 0.0)
        table.claimed(name, "modest" if name == b"modest" else "greedy")
    for name in [*names, b"modest"]:
        peer = table.find(name)
        assert peer is not None
        table.receive(peer, encode([b"", b"x"]) * 3, 0.0)
    order = [message.route[0] for _ in range(153) if (message := table.next_message()) is not None]
    assert [place for place, name in enumerate(order) if name == b"modest"] == [1, 3, 5]
    assert [order[place] for place in (0, 2, 4, 6)] == names[:4]
    assert len(order) == 153
    assert not table.has_waiting


def test_messages_that_come_one_by_one_give_a_connection_no_more_turns() -> None:
    table, names = PeerTable(SocketLimits()), [b"one", b"other"]
    for name in names:
        peer = table.add(name, "10.0.0.1", 0.0)
        for chunk in (REQ, *[encode([b"", b"x"])] * 3):
            table.receive(peer, chunk, 0.0)
    order = [message.route[0] for _ in range(6) if (message := table.next_message()) is not None]
    assert order == names * 3


def test_every_deadline_ends_a_peer() -> None:
    limits, now = SocketLimits(), 100.0
    table = PeerTable(limits)
    for name, hello in {b"greets": GREETING[:30], b"sends": REQ + b"\x01\x00\x00\x09x", b"lives": REQ}.items():
        table.receive(table.add(name, "10.0.0.1", now), hello, now)
    assert table.tick(now + limits.greeting_s) == []
    table.tick(now + limits.greeting_s + 1)
    assert [name for name, _ in table.dropped] == [b"greets"]
    sends, lives = table.find(b"sends"), table.find(b"lives")
    assert sends is not None
    assert lives is not None
    for second in range(7, 40):  # a byte now and then does not renew the deadline of a message
        if second % 8 == 0:
            table.receive(sends, b"x", now + second)
        table.tick(now + second)
    assert table.find(b"sends") is None
    assert table.tick(now + limits.heartbeat_s + 1) == [lives]
    lives.ping()
    assert table.tick(now + 2 * limits.heartbeat_s) == []
    table.tick(now + 3 * limits.heartbeat_s + 1)
    assert len(table) == 0


def test_each_message_has_its_whole_time() -> None:
    """However long its peer was idle, or was sending the one before it."""
    whole_s, table = SocketLimits().message_s, PeerTable(SocketLimits())
    peer, message = table.add(b"slow", "10.0.0.1", 0.0), encode([b"", bytes(100)])
    table.receive(peer, REQ, 0.0)
    begins = whole_s + 100.0
    table.receive(peer, message[:-50], begins)
    table.tick(begins + 0.8 * whole_s)
    table.receive(peer, message[-50:] + message[:-50], begins + 0.9 * whole_s)
    table.tick(begins + 1.7 * whole_s)
    assert table.find(b"slow") is peer
    table.tick(begins + 2 * whole_s)
    assert table.find(b"slow") is None


def flood(peer: socket.socket, again: bytes, began: list[bool]) -> None:
    """What a listener without any key does once a device has said HELLO."""
    peer.sendall(ROUTER)
    got = b""
    while b"SSP1" not in got:
        got += peer.recv(1 << 14)
    began.append(True)
    pour(peer, lambda: again, 300 * MB)


CLIENT_FLOODS = {
    "empty parts": b"\x01\x00" * 500_000,
    "long parts": b"\x01\x00" + LONG * 16,
    "messages nobody asked for": encode([b"", b"x" * 100]) * 1_000,
    "pings": PING * 1_000,
    "commands": command(b"HELLO", bytes(900)) * 100,
    "a part that is too long": b"\x02" + (1 << 40).to_bytes(8, "big") + bytes(1 << 20),
}


def asks_once(endpoint: str) -> None:
    _, credentials = keystore.ephemeral(datetime.now(UTC))
    with Connection([endpoint], credentials, IDENTITY, timeouts=Timeouts(total_s=TOTAL_S)) as connection:
        connection.request(release(1))


def asks_once_async(endpoint: str) -> None:
    async def ask() -> None:
        _, credentials = keystore.ephemeral(datetime.now(UTC))
        async with AsyncConnection([endpoint], credentials, IDENTITY, timeouts=Timeouts(total_s=TOTAL_S)) as connection:
            await connection.request(release(1))

    asyncio.run(ask())


@pytest.mark.parametrize("ask", [asks_once, asks_once_async])
@pytest.mark.parametrize("kind", CLIENT_FLOODS)
def test_a_listener_without_a_key_costs_a_device_nothing(kind: str, ask: Callable[[str], None]) -> None:
    began: list[bool] = []
    with listener(lambda peer: flood(peer, CLIENT_FLOODS[kind], began)) as endpoint:
        start = time.monotonic()
        with costs_less_than(20, os.getpid()), pytest.raises(UnreachableError, match="no worker answered"):
            ask(endpoint)
        took_less_than(8, start)
    assert began


def test_a_worker_that_talks_nonsense_is_passed_over() -> None:
    with running() as worker, listener(lambda peer: flood(peer, CLIENT_FLOODS["empty parts"], [])) as evil:
        with Connection([evil, worker.front.endpoint], worker.credentials, IDENTITY) as connection:
            assert connection.request(release(5)).logit == 5


@pytest.mark.parametrize("ask", [asks_once, asks_once_async])
@pytest.mark.parametrize("kind", [zmq.REP, zmq.ROUTER])
def test_a_client_talks_with_a_stock_socket(kind: int, ask: Callable[[str], None]) -> None:
    """A client's first message reaches it as from a REQ, and its answer reaches the client."""
    with zmq.Context() as context:
        stock = context.socket(kind)
        stock.linger = 0
        stock.rcvtimeo = 5_000
        stock.heartbeat_ivl = 100
        endpoint = f"tcp://127.0.0.1:{stock.bind_to_random_port('tcp://127.0.0.1')}"
        with ThreadPoolExecutor(1) as thread:
            asking = thread.submit(ask, endpoint)
            hello = stock.recv_multipart()
            assert hello[-1].startswith(b"SSP1\x01")
            assert len(hello) == (1 if kind == zmq.REP else 3)
            refusal = encode_frame(Frame(FrameType.ERR, Code.WORKER, session=decode(hello[-1]).session, body=bytes(8)))
            stock.send_multipart([*hello[:-1], refusal])
            assert isinstance(asking.exception(10), SecureSplitError)
        stock.close()


def test_a_connection_closed_while_idle_is_noticed_in_time() -> None:
    """Nobody answers the worker's PINGs while a device has nothing to ask."""
    front = FrontSocket("tcp://127.0.0.1:0", SocketLimits(heartbeat_s=0.1))

    def serve(stop: threading.Event) -> None:
        while not stop.wait(0.01):
            for message in front.receive():
                front.send(message.route, message.body)
            front.tick()

    with beside(serve), zmq.Context() as context:
        link = ReqConnection(context, Endpoint.parse(front.endpoint), connect_timeout_s=5.0)
        assert link.exchange([b"hello"], 5.0, lambda data: data) == b"hello"
        assert link.is_alive()
        wait_until(lambda: front.dropped["peer-silent"] == 1)
        wait_until(lambda: not link.is_alive())
        link.close()
    front.close()


def test_after_an_idle_close_the_same_worker_is_asked_again() -> None:
    other: list[socket.socket] = []
    with running() as worker, listener(other.append) as elsewhere:
        with Connection([worker.front.endpoint, elsewhere], worker.credentials, IDENTITY) as connection:
            assert connection.request(release(1)).logit == 1
            for peer in list(worker.front._socket._peers._peers.values()):
                peer.heard_s = -1e9
            wait_until(lambda: worker.front.counters.refused["peer-silent"] == 1)
            time.sleep(0.3)  # until the end of the connection has reached the device
            assert connection.request(release(2)).logit == 2
        assert other == []


def test_the_embedded_front_has_the_same_bounds() -> None:
    with running() as worker, costs_less_than(20, os.getpid()):
        for again in (b"\x01\x00" * 100_000, LONG):
            with connect(worker.front.endpoint) as peer:
                assert pour(peer, lambda again=again: again, 30 * MB)
        with worker.connect() as connection:
            assert connection.request(release(5)).logit == 5
