"""A thousand handshakes a second that nobody means to finish: what open sessions and newcomers notice.

    python -m benchmarks.flood

A worker in a process of its own serves the default bundle. Four clients with open sessions ask all the time, and a
newcomer comes every quarter of a second, whether the one before was answered or not; each round is half quiet, half
flood, so that whatever else the machine does falls on both. The flood is a process that sends HELLOs from addresses of
127.0.0.0/8, bounded in number and time; in ``behind one NAT`` it has the clients' own address. Wanted: p99 of open
sessions <= 2 x quiet, newcomers >= 99 %.
"""

from __future__ import annotations

import contextlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import zmq

from benchmarks.arguments import take_none
from benchmarks.processes import Threads, certificates, line, process, serve_default
from benchmarks.table import show
from securesplit.channel import frames
from securesplit.channel.client import ClientChannel
from securesplit.channel.frames import Frame, FrameType
from securesplit.errors import SecureSplitError
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials
from securesplit.transport.connection import Connection

PRESET = "certified"
RATE = 1_000  # HELLOs in a second
ROUNDS = 3
HALF_S = 4.0
CLIENTS = 4
THINK_S = 0.01
NEWCOMER_S = 0.25
PATIENCE_S = 15.0
MAX_HELLOS = 50_000
FLOODS = {
    "one address, one connection": ("127.0.7.1", 1, 1),
    "one address, 100 connections": ("127.0.7.1", 1, 100),
    "50 addresses": ("127.0.7.1", 50, 1),
    "behind one NAT, 100 connections": ("127.0.0.1", 1, 100),
}


@dataclass
class Seen:
    """What clients measured.

    Attributes:
        open_ms: round trips over open sessions.
        new_ms: connect, handshake and first answer of newcomers.
        failed: newcomers that gave up.
    """

    open_ms: list[float] = field(default_factory=list)
    new_ms: list[float] = field(default_factory=list)
    failed: int = 0


class Clients:
    """Honest clients, whose figures go to `seen` of the moment."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        self._endpoint, self._credentials = endpoint, credentials
        bundle = Bundle.load()
        spec = bundle.preset(PRESET).spec
        self._identity, self._release = bundle.identity, np.zeros(spec.shape, spec.dtype)
        self.seen = Seen()
        self._threads = Threads(*[self._ask] * CLIENTS, self._keep_coming)
        self._threads.start()

    def stop(self) -> None:
        """End and wait."""
        self._threads.stop()

    def _ask(self) -> None:
        with Connection([self._endpoint], self._credentials, self._identity) as connection:
            while not self._threads.over.wait(THINK_S):
                seen = self.seen
                seen.open_ms.append(connection.request(self._release).round_trip_ms)

    def _keep_coming(self) -> None:
        with ThreadPoolExecutor(64) as newcomers:
            while not self._threads.over.wait(NEWCOMER_S):
                newcomers.submit(self._arrive, self.seen)

    def _arrive(self, seen: Seen) -> None:
        start, where = time.perf_counter(), [self._endpoint]
        with Connection(where, self._credentials, self._identity, timeout_s=PATIENCE_S) as connection:
            try:
                connection.request(self._release)
                seen.new_ms.append(1e3 * (time.perf_counter() - start))
            except SecureSplitError:
                seen.failed += 1


def main() -> None:
    """Print and save the table."""
    rows: list[list[object]] = []
    with certificates("device") as certs, process("benchmarks.flood", "serve", str(certs)) as worker:
        endpoint, credentials = line(worker), keystore.load_client(certs, now=datetime.now(UTC))
        for name, (address, addresses, connections) in FLOODS.items():
            quiet, flooded, sent = _compare(endpoint, credentials, address, addresses, connections)
            rows.append([name, sent, *_row(quiet, flooded)])
    columns = ["flood", "HELLOs/s", "open p50 ms quiet", "flood", "p99 ms quiet", "flood", "ratio", "wanted"]
    show("flood", [*columns, "newcomers", "answered %", "wanted", "median ms quiet", "flood"], rows)


def _compare(
    endpoint: str, credentials: Credentials, address: str, addresses: int, connections: int
) -> tuple[Seen, Seen, float]:
    quiet, flooded, rates = Seen(), Seen(), []
    clients = Clients(endpoint, credentials)
    time.sleep(1.0)
    for _ in range(ROUNDS):
        clients.seen = quiet
        time.sleep(HALF_S)
        with process(
            "benchmarks.flood", "flood", endpoint, address, str(addresses), str(connections), str(HALF_S + 1.0)
        ) as flood:
            line(flood)
            clients.seen = Seen()  # half a second for the flood to be felt
            time.sleep(0.5)
            clients.seen = flooded
            time.sleep(HALF_S)
            clients.seen = Seen()
            rates.append(float(line(flood)))
        time.sleep(0.5)
    clients.stop()
    return quiet, flooded, float(np.mean(rates))


def _row(quiet: Seen, flooded: Seen) -> list[object]:
    (quiet_p50, quiet_p99), (flood_p50, flood_p99) = (np.percentile(s.open_ms, (50, 99)) for s in (quiet, flooded))
    came = len(flooded.new_ms) + flooded.failed
    return [
        *(round(float(value), 2) for value in (quiet_p50, flood_p50, quiet_p99, flood_p99)),
        round(float(flood_p99 / quiet_p99), 2),
        "<= 2",
        came,
        100.0 * len(flooded.new_ms) / max(1, came),
        ">= 99",
        round(float(np.median(quiet.new_ms)), 1),
        round(float(np.median(flooded.new_ms)), 1),
    ]


def _flood(endpoint: str, first: str, addresses: int, connections: int, seconds: float) -> None:
    """Send HELLOs at `RATE`, and read what comes back; the TLS bytes are real, and the same in each."""
    _, credentials = keystore.ephemeral(datetime.now(UTC))
    hello = frames.decode(ClientChannel(credentials, Bundle.load().identity, "127.0.0.1").hello())
    port = endpoint.rpartition(":")[2]
    network, _, host = first.rpartition(".")
    with zmq.Context() as context:
        sockets = []
        for number in range(addresses * connections):
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(f"tcp://{network}.{int(host) + number % addresses}:0;127.0.0.1:{port}")
            sockets.append(socket)
        time.sleep(0.5)
        print("started", flush=True)
        start, sent = time.monotonic(), 0
        while time.monotonic() - start < seconds and sent < MAX_HELLOS:
            while sent < RATE * (time.monotonic() - start):
                socket = sockets[sent % len(sockets)]
                body = Frame(FrameType.HELLO, session=sent.to_bytes(16, "big"), body=hello.body)
                with contextlib.suppress(zmq.Again):
                    socket.send_multipart([b"", frames.encode(body)], zmq.NOBLOCK)
                with contextlib.suppress(zmq.Again):
                    while True:
                        socket.recv_multipart(zmq.NOBLOCK)
                sent += 1
            time.sleep(0.002)
        print(sent / (time.monotonic() - start), flush=True)
        for socket in sockets:
            socket.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", certs]:
            sys.exit(serve_default(Path(certs)))
        case ["flood", endpoint, first, addresses, connections, seconds]:
            _flood(endpoint, first, int(addresses), int(connections), float(seconds))
        case _:
            take_none(__doc__)
            main()
