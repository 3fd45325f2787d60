"""What anyone can do to the front's socket, and what honest clients notice of it: nothing."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Iterator

import pytest
import zmq

from securesplit.errors import ConfigError
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.server import FrontSocket, Incoming
from securesplit.transport.sockets import SocketLimits
from securesplit_testing.serving import Running, release, running, wait_until


@pytest.fixture
def worker() -> Iterator[Running]:
    with running() as started:
        yield started


@pytest.fixture
def attacker() -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context:
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 200)
        dealer.setsockopt(zmq.SNDTIMEO, 5_000)
        yield dealer
        dealer.close()


def test_garbage_in_every_form_is_dropped(worker: Running, attacker: zmq.Socket[bytes]) -> None:
    attacker.connect(worker.front.endpoint)
    draw = random.Random(7)
    with worker.connect() as connection:
        for turn in range(400):
            parts = [draw.randbytes(draw.randrange(64)) for _ in range(draw.randrange(1, 6))]
            if turn % 2:
                parts = [b"", b"SSP1" + parts[0]]
            attacker.send_multipart(parts)
            if turn % 40 == 0:
                assert connection.request(release(turn % 100)).logit == turn % 100


def test_a_port_scan_and_bytes_of_another_protocol_do_no_harm(worker: Running) -> None:
    host, port = worker.front.endpoint.removeprefix("tcp://").split(":")
    with worker.connect() as connection:
        for greeting in (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(500), b"\xff" + bytes(8) + b"\x7f\x03"):
            for _ in range(10):
                with socket.create_connection((host, int(port))) as scan:
                    scan.sendall(greeting)
        assert connection.request(release(5)).logit == 5


def test_a_message_over_the_limit_ends_its_sender_only(worker: Running, attacker: zmq.Socket[bytes]) -> None:
    monitor = attacker.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    attacker.connect(worker.front.endpoint)
    attacker.send_multipart([b"", bytes(SocketLimits().max_message_bytes + 1)])
    assert monitor.poll(5_000), "the front hangs up on it"
    attacker.disable_monitor()
    monitor.close()
    with worker.connect() as connection:
        assert connection.request(release(5)).logit == 5


def test_a_message_just_under_the_limit_is_read_and_refused(worker: Running, attacker: zmq.Socket[bytes]) -> None:
    attacker.connect(worker.front.endpoint)
    attacker.send_multipart([b"", b"SSP1" + bytes(SocketLimits().max_message_bytes - 4)])
    with worker.connect() as connection:
        assert connection.request(release(5)).logit == 5


def test_a_peer_that_never_reads_holds_nobody_up(worker: Running, attacker: zmq.Socket[bytes]) -> None:
    attacker.setsockopt(zmq.RCVHWM, 1)
    attacker.connect(worker.front.endpoint)
    unknown = b"SSP1" + bytes([5, 0, 0, 0]) + bytes(8 + 8 + 16)
    with contextlib.suppress(zmq.Again):  # once it was thrown out: libzmq hears of it when something is read
        for _ in range(5_000):
            attacker.send_multipart([b"", unknown])
    with worker.connect() as connection:
        assert connection.request(release(5)).logit == 5


def test_an_address_in_use_is_a_clear_error(worker: Running) -> None:
    with pytest.raises(ConfigError, match="cannot listen") as caught:
        FrontSocket(worker.front.endpoint)
    assert "another port" in caught.value.hint


@pytest.mark.parametrize("bind", ["tcp://192.0.2.1:0", "tcp://no-such-host.invalid:0"])
def test_an_address_of_another_machine_is_a_clear_error(bind: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen") as caught:
        FrontSocket(bind)
    assert "an address of this machine" in caught.value.hint


@pytest.mark.parametrize("bind", ["tcp://*:0", "tcp://localhost:0", "tcp://0.0.0.0:0"])
def test_the_real_port_is_told(bind: str) -> None:
    front = FrontSocket(bind)
    assert int(front.endpoint.rpartition(":")[2]) > 0
    front.close()


@pytest.mark.parametrize(("host", "counted_by"), [("127.0.0.1", "127.0.0.1"), ("::1", "::")])
def test_a_peer_is_told_by_its_network(attacker: zmq.Socket[bytes], host: str, counted_by: str) -> None:
    """Also where an IPv4 one comes to a socket of both families."""
    front = FrontSocket("tcp://[::]:0")
    came: list[Incoming] = []
    attacker.setsockopt(zmq.IPV6, 1)
    attacker.connect(str(Endpoint(host, Endpoint.parse(front.endpoint).port)))
    attacker.send_multipart([b"", b"a message"])
    wait_until(lambda: bool(came.extend(front.receive()) or came))
    assert [message.address for message in came] == [counted_by]
    front.close()
