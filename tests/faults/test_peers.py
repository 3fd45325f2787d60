"""Peers that are slow, silent or talk nonsense: they are thrown out or ignored, and honest clients do not notice."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from securesplit.worker.resources import resident_bytes
from securesplit_testing import garbage
from securesplit_testing.garbage import GREETING, KINDS, READY, draw, message
from securesplit_testing.load import Load
from securesplit_testing.serving import Process, process, wait_until
from securesplit_testing.threads import beside
from securesplit_testing.timing import took_less_than
from tests.transport.raw import ends

pytestmark = pytest.mark.faults
CONNECTIONS = 1_000


@pytest.fixture
def worker(certs: Path) -> Iterator[Process]:
    with process(certs) as started:
        yield started


def connect(worker: Process) -> socket.socket:
    host, port = worker.endpoint.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(port)), 5.0)


def open_files(worker: Process) -> int:
    return len(list(Path(f"/proc/{worker.pid}/fd").iterdir()))


def test_garbage_of_every_kind_leaves_nothing_behind(worker: Process, load: Callable[..., Load]) -> None:
    clients = load(worker.endpoint, clients=2, pause_s=0.01)
    clients.answers(20)
    before, source = open_files(worker), random.Random(7)
    for n in range(CONNECTIONS):
        with contextlib.suppress(OSError), connect(worker) as peer:
            peer.sendall(KINDS[n](source) if n < len(KINDS) else draw(source))
    clients.answers(20)
    wait_until(lambda: open_files(worker) <= before, 15)
    clients.check()
    assert not any("Traceback" in line for line in worker.log)


def test_a_peer_of_an_older_zeromq_is_ignored(worker: Process, load: Callable[..., Load]) -> None:
    """libzmq has no metadata for ZMTP 1 and 2, so it cannot say where their messages come from; and random bytes can be
    ZMTP 1."""
    clients = load(worker.endpoint, clients=1)
    clients.answers(5)
    for _ in range(5):
        with connect(worker) as peer, contextlib.suppress(OSError):
            peer.sendall(garbage.OLD_GREETING + garbage.old_message(b"", garbage.channel_frame(random.Random(1))))
            peer.settimeout(0.3)
            while peer.recv(100):
                pass
    clients.answers(5)
    clients.check()
    assert worker.tails()


def test_strangers_that_look_like_an_older_zeromq_cost_no_memory(worker: Process) -> None:
    """A TLS ClientHello does. libzmq's own ROUTER keeps 10 kB of each for ever."""
    sizes = []
    for _ in range(3):
        for _ in range(CONNECTIONS):
            with connect(worker) as peer:
                peer.sendall(garbage.TLS_HELLO)
                assert ends(peer, 5.0)
        sizes.append(resident_bytes(worker.pid))
    assert sizes[2] - sizes[1] < CONNECTIONS * 2_000, sizes  # bytes


def test_greetings_that_do_not_end_are_cut_off(worker: Process) -> None:
    """A byte a second (slowloris), half a greeting, and not a word: after 5 s the worker hangs up on all of them."""
    before, peers = open_files(worker), [connect(worker) for _ in range(20)]
    start, sent = time.monotonic(), 0
    wait_until(lambda: open_files(worker) >= before + 20)
    while open_files(worker) > before:
        took_less_than(20, start)
        for peer in peers[:10]:
            with contextlib.suppress(OSError):
                peer.sendall(GREETING[sent : sent + 1])
        sent += 1
        time.sleep(0.5)
    assert time.monotonic() - start > 4, "an honest peer on a slow network has time"
    for peer in peers:
        peer.close()


def test_a_request_that_comes_byte_by_byte_holds_up_nobody(worker: Process, load: Callable[..., Load]) -> None:
    clients = load(worker.endpoint, clients=2)
    clients.answers(20)

    def dribble(stop: threading.Event) -> None:
        with connect(worker) as peer:
            peer.sendall(GREETING + READY)
            for byte in message(b"", bytes(250)) * 8:
                if stop.wait(0.01):
                    return
                peer.sendall(bytes([byte]))

    with beside(*20 * [dribble]):
        clients.answers(100)
    clients.check()


def test_a_peer_that_never_reads_costs_a_bounded_amount(worker: Process, load: Callable[..., Load]) -> None:
    """It sends what has to be answered and takes no answer; past the high-water mark its answers are dropped."""
    clients = load(worker.endpoint, clients=1)
    clients.answers(10)
    frame = garbage.channel_frame(random.Random(1))
    with connect(worker) as peer, contextlib.suppress(OSError):
        peer.settimeout(2.0)
        peer.sendall(GREETING + READY)
        for _ in range(3_000):
            peer.sendall(message(b"", frame))
    clients.answers(20)
    clients.check()
