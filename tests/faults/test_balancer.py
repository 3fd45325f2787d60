"""Many workers behind HAProxy with the shipped configuration: no request is lost, whatever happens to the workers."""

from __future__ import annotations

import contextlib
import signal
import socket
import socketserver
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from securesplit_testing.balancer import CONFIG, Balancer, Place, balancer, configuration, is_installed
from securesplit_testing.health import metrics
from securesplit_testing.load import Load
from securesplit_testing.serving import Process, process, wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not is_installed(), reason="needs Debian's package haproxy"),
]
LoadOn = Callable[..., Load]
PAUSE_S = 0.005
ENDS = 2
A_CLIENT = 256
UP, DOWN = ">Server workers/tail-{} is UP", ">Server workers/tail-{} is DOWN"
"""HAProxy's lines on stderr, each of which begins with its level in angle brackets."""


class Farm:
    """Places for workers, and the workers that run there, behind one balancer."""

    def __init__(self, certs: Path, places: list[Place], ahead: Balancer, running: contextlib.ExitStack) -> None:
        self.places, self.balancer = places, ahead
        self._certs, self._running = certs, running

    def start(self, number: int, *, times: int = 1) -> Process:
        """Start a worker at a place, the first of which is 1, and wait until HAProxy has found it so many times."""
        place = self.places[number - 1]
        worker = process(self._certs, bind=place.bind, metrics=place.metrics, pause_s=PAUSE_S)
        started = self._running.enter_context(worker)
        self.balancer.says(UP.format(number), times)
        return started

    def is_gone(self, number: int, *, times: int) -> None:
        """Wait until HAProxy has missed a worker so many times, the first before any was started."""
        self.balancer.says(DOWN.format(number), times)

    def done(self, number: int) -> float:
        """Requests that a worker has answered."""
        return metrics(self.places[number - 1].metrics).get("requests_total{outcome=done}", 0.0)


@pytest.fixture
def farm(certs: Path, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Farm]:
    """Four places, nobody there yet."""
    places = [Place.free() for _ in range(4)]
    with balancer(tmp_path, free_port(), places) as ahead, contextlib.ExitStack() as running:
        made = Farm(certs, places, ahead, running)
        for number in range(1, len(places) + 1):
            made.is_gone(number, times=1)
        yield made


def test_haproxy_accepts_the_configuration() -> None:
    done = subprocess.run(["haproxy", "-c", "-f", CONFIG], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [1, 2, 4])
def test_workers_share_the_connections(farm: Farm, load: LoadOn, count: int) -> None:
    for number in range(1, count + 1):
        farm.start(number)
    clients = load(farm.balancer.endpoint, clients=8)
    clients.answers(100)
    clients.check()
    shares = [farm.done(number) for number in range(1, count + 1)]
    assert sum(shares) == len(clients.answered)
    assert min(shares) > 0, shares


def test_one_address_has_no_more_connections_than_its_share(farm: Farm, load: LoadOn) -> None:
    """What is over 256 is ended before it reaches a worker, and devices at other addresses notice nothing."""
    farm.start(1)
    clients = load(farm.balancer.endpoint)
    clients.answers(20)
    host, port = "127.0.0.1", int(farm.balancer.endpoint.rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection((host, port), source_address=("127.0.0.9", 0)))
            for _ in range(A_CLIENT + 20)
        ]
        assert sum(greets(each) for each in crowd) == A_CLIENT
        clients.answers(20)
    clients.check()


def test_a_worker_at_one_address_of_a_name_of_both_kinds_is_found(
    certs: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Names of machines often have an IPv6 address, at which a worker that binds 0.0.0.0 does not answer.

    HAProxy does: the device comes by IPv6.
    """
    port, place, file = free_port(), Place.free(), tmp_path / "names.cfg"
    shipped = configuration(port, [place]).replace("server tail-1 127.0.0.1:", "server tail-1 tail-1.example.org:")
    with (
        socketserver.UDPServer(("127.0.0.1", 0), Answers) as names,
        process(certs, bind=place.bind, metrics=place.metrics),
    ):
        threading.Thread(target=names.serve_forever, daemon=True).start()
        file.write_text(shipped.replace("parse-resolv-conf", f"nameserver here 127.0.0.1:{names.server_address[1]}"))
        with (tmp_path / "log").open("w") as log, subprocess.Popen(["haproxy", "-f", file], stderr=log) as ahead:
            try:
                wait_until(lambda: is_served(port), why=(tmp_path / "log").read_text)
            finally:
                ahead.terminate()
        names.shutdown()


class Answers(socketserver.BaseRequestHandler):
    """Of a name server by which every name has the addresses 127.0.0.1 and ::1 (RFC 1035, RFC 3596)."""

    def handle(self) -> None:
        query, sent_by = self.request
        end = query.index(b"\0", 12) + 5
        addresses = {b"\x00\x01": b"\x7f\x00\x00\x01", b"\x00\x1c": bytes(15) + b"\x01"}
        found = addresses.get(query[end - 4 : end - 2])
        header = query[:2] + struct.pack("!5H", 0x8180, 1, found is not None, 0, 0)
        record = (
            b"" if found is None else b"\xc0\x0c" + query[end - 4 : end] + struct.pack("!IH", 5, len(found)) + found
        )
        sent_by.sendto(header + query[12:end] + record, self.client_address)


def is_served(port: int) -> bool:
    """Whether a worker greets who connects by IPv6."""
    with contextlib.suppress(ConnectionError), socket.create_connection(("::1", port)) as device:
        return greets(device)
    return False


def greets(connection: socket.socket) -> bool:
    """Whether a worker's greeting comes, and not the end."""
    connection.settimeout(10)
    try:
        return connection.recv(1) == b"\xff"
    except ConnectionError:
        return False


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "drained"])
def test_workers_that_end_in_turn_under_load_lose_nothing(farm: Farm, load: LoadOn, end: signal.Signals) -> None:
    workers = [farm.start(1), farm.start(2)]
    clients = load(farm.balancer.endpoint)
    for turn in range(ENDS):
        clients.answers(20)
        which = turn % 2
        workers[which].signal(end)
        assert workers[which].wait(20) == (0 if end == signal.SIGTERM else -end)
        farm.is_gone(which + 1, times=turn // 2 + 2)
        clients.answers(20)
        workers[which] = farm.start(which + 1, times=turn // 2 + 2)
    clients.answers(20)
    clients.check()


def test_a_machine_that_dies_without_a_word_holds_nobody_up(farm: Farm, load: LoadOn) -> None:
    """A stopped process answers nothing and closes nothing; HAProxy ends its connections within about a second."""
    worker = farm.start(1)
    clients = load(farm.balancer.endpoint)
    clients.answers(20)
    farm.start(2)
    worker.signal(signal.SIGSTOP)
    clients.answers(50)
    clients.check()
    assert 300.0 < max(clients.milliseconds) < 6_000.0, "longer than a check, shorter than a try of 8 s"


def test_workers_that_are_added_under_load_get_their_share(farm: Farm, load: LoadOn) -> None:
    """At a spare line, and at one that a reload brings; devices that are there already stay where they are."""
    farm.balancer.configure(farm.places[:2])
    farm.balancer.reload()
    farm.is_gone(2, times=2)
    farm.start(1)
    clients = load(farm.balancer.endpoint)
    clients.answers(20)
    farm.start(2)
    more = load(farm.balancer.endpoint)
    more.answers(20)
    assert farm.done(2) > 0
    farm.balancer.configure(farm.places[:3])
    farm.balancer.reload()
    farm.is_gone(3, times=2)
    farm.start(3)
    most = load(farm.balancer.endpoint)
    most.answers(20)
    assert farm.done(3) > 0
    clients.answers(20)
    for each in (clients, more, most):
        each.check()
