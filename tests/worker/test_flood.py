"""A flood of handshakes over real sockets: new clients get in, open sessions continue, the rest is to retry."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
import zmq

from securesplit.channel import frames
from securesplit.channel.client import ClientChannel
from securesplit.channel.frames import Code, ErrorBody, Frame, FrameType
from securesplit_testing.serving import IDENTITY, Running, release, running
from securesplit_testing.threads import beside

RATE = 500


@pytest.fixture
def worker() -> Iterator[Running]:
    with running() as started:
        yield started


def connect(context: zmq.Context[zmq.Socket[bytes]], worker: Running, source: str) -> zmq.Socket[bytes]:
    """A DEALER from an address of 127.0.0.0/8."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://{source}:0;127.0.0.1:{worker.front.endpoint.rpartition(':')[2]}")
    return socket


def hello_of(worker: Running) -> bytes:
    return ClientChannel(worker.credentials, IDENTITY, "127.0.0.1").hello()


def flood(sockets: list[zmq.Socket[bytes]], hello: bytes, over: threading.Event) -> None:
    end, sent, start = time.monotonic() + 30.0, 0, time.monotonic()
    body = frames.decode(hello).body
    while not over.is_set() and time.monotonic() < end:
        while sent < RATE * (time.monotonic() - start):
            socket = sockets[sent % len(sockets)]
            frame = frames.encode(Frame(FrameType.HELLO, session=sent.to_bytes(16, "big"), body=body))
            try:
                socket.send_multipart([b"", frame], zmq.NOBLOCK)
                while True:
                    socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                pass
            sent += 1
        time.sleep(0.002)


@pytest.mark.parametrize("source", ["127.0.7.1", "127.0.0.1"], ids=["elsewhere", "behind the same NAT"])
def test_newcomers_and_open_sessions_are_answered_in_a_flood(worker: Running, source: str) -> None:
    with zmq.Context() as context, worker.connect() as settled:
        assert settled.request(release(1)).logit == 1
        sockets = [connect(context, worker, source) for _ in range(50)]
        try:
            with beside(partial(flood, sockets, hello_of(worker))):
                time.sleep(0.5)
                for n in range(10):
                    with worker.connect() as newcomer:
                        assert newcomer.request(release(n)).logit == n
                    assert settled.request(release(n)).logit == n
        finally:
            for socket in sockets:
                socket.close()
        assert worker.front._channel.half_open_count <= 256


def test_who_is_crowded_out_hears_when_to_come_back(worker: Running) -> None:
    hello = hello_of(worker)
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, 2_000)
        sockets = [connect(context, worker, "127.0.7.1") for _ in range(600)]
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        worker.front._admission.spent(0.5)  # no handshake for two seconds, so that all of them wait
        for socket in sockets:
            socket.send_multipart([b"", hello])
        answers: dict[zmq.Socket[bytes], Frame] = {}
        end = time.monotonic() + 90.0
        while len(answers) < 600 and time.monotonic() < end:
            for socket, _ in poller.poll(100):
                answers[socket] = frames.decode(socket.recv_multipart()[-1])
        for socket in sockets:
            socket.close()
    busy = [frame for frame in answers.values() if frame.code is Code.BUSY]
    assert len(answers) == 600, "everyone gets an answer"
    assert len(busy) >= 200
    assert all(ErrorBody.decode(frame.body).retry_after_ms > 0 for frame in busy)
    assert sum(frame.type is FrameType.HREPLY for frame in answers.values()) == 600 - len(busy)
