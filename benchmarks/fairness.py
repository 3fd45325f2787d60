"""A greedy client with a good certificate, and what the others notice: ``python -m benchmarks.fairness``.

Against the default bundle in a worker of its own. Three modest clients ask one photo after the other, with a pause; the
greedy one keeps 16 sessions full (eight requests each), or 256 sessions and asks again at once whenever it is refused,
from a process of its own that runs at the lowest priority: it stands for another machine, which takes none of the
worker's cores. On fewer than four cores it takes some all the same, and so does everything else that runs. Quiet and
greedy rounds alternate, so that whatever else this machine does falls on both. Wanted: the others' p50 and p90 <= 2 x.
(A prototype without turns: 15 x.)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import zmq

from benchmarks.arguments import take_none
from benchmarks.processes import Threads, certificates, line, process, serve_default
from benchmarks.table import show
from securesplit.channel import payload
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Reply
from securesplit.channel.limits import REQUESTS_IN_FLIGHT
from securesplit.errors import SecureSplitError
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection

ROUNDS = 3
HALF_S = 4.0
MODEST = ("one", "two", "three")
THINK_S = 0.02
SESSIONS, MANY_SESSIONS = 16, 256
PRESETS = ("certified", "compact")
KINDS = {"greedy": f"{SESSIONS} sessions", "ignoring": f"{MANY_SESSIONS} sessions that ignore BUSY"}


class Modest:
    """Clients that ask for one photo at a time; their milliseconds go to `seen` of the moment."""

    def __init__(self, endpoint: str, certs: Path, preset: str) -> None:
        self.seen: list[float] = []
        loaded = [keystore.load_client(certs, name, now=datetime.now(UTC)) for name in MODEST]
        self._threads = Threads(*(partial(self._ask, endpoint, one, preset) for one in loaded))
        self._threads.start()

    def stop(self) -> None:
        """End and wait."""
        self._threads.stop()

    def _ask(self, endpoint: str, credentials: Credentials, preset: str) -> None:
        bundle = Bundle.load()
        spec = bundle.preset(preset).spec
        release = np.zeros(spec.shape, spec.dtype)
        with Connection([endpoint], credentials, bundle.identity) as connection:
            while not self._threads.over.wait(THINK_S):
                seen = self.seen
                seen.append(connection.request(release).round_trip_ms)


def main() -> None:
    """Print and save the table."""
    rows: list[list[object]] = []
    with certificates(*MODEST, "greedy") as certs, process("benchmarks.fairness", "serve", str(certs)) as worker:
        endpoint = line(worker)
        for kind, what in KINDS.items():
            rows.extend([preset, what, *_compare(endpoint, certs, preset, kind)] for preset in PRESETS)
    columns = ["preset", "greedy client", "its answers/s"]
    measured = [f"{name} {of}" for name in ("p50", "p90") for of in ("ms quiet", "ms beside it", "ratio")]
    show("fairness", [*columns, *measured, "wanted", "p99 ms quiet", "p99 ms beside it"], rows)


def _compare(endpoint: str, certs: Path, preset: str, kind: str) -> list[object]:
    quiet: list[float] = []
    greedy: list[float] = []
    rates: list[float] = []
    modest = Modest(endpoint, certs, preset)
    time.sleep(1.0)
    for _ in range(ROUNDS):
        modest.seen = quiet
        time.sleep(HALF_S)
        modest.seen = []
        with process("benchmarks.fairness", kind, endpoint, str(certs), preset, str(HALF_S + 1.0)) as load:
            line(load)
            time.sleep(0.5)
            modest.seen = greedy
            time.sleep(HALF_S)
            modest.seen = []
            rates.append(float(line(load)))
        time.sleep(0.5)
    modest.stop()
    (p50, p90, p99), beside = (np.percentile(times, (50, 90, 99)) for times in (quiet, greedy))
    figures = [np.mean(rates), p50, beside[0], beside[0] / p50, p90, beside[1], beside[1] / p90]
    return [*(round(float(f), 2) for f in figures), "<= 2", round(float(p99), 1), round(float(beside[2]), 1)]


async def _greedy(endpoint: str, certs: Path, preset: str, seconds: float) -> None:
    bundle = Bundle.load()
    spec = bundle.preset(preset).spec
    release = np.zeros(spec.shape, spec.dtype)
    credentials = keystore.load_client(certs, "greedy", now=datetime.now(UTC))
    connections = [AsyncConnection([endpoint], credentials, bundle.identity) for _ in range(SESSIONS)]
    answered = 0

    async def ask(connection: AsyncConnection, end: float) -> None:
        nonlocal answered
        while time.monotonic() < end:
            with contextlib.suppress(SecureSplitError):
                await connection.request(release)
                answered += 1

    await asyncio.gather(*(connection.request(release) for connection in connections))
    print("started", flush=True)
    start = time.monotonic()
    await asyncio.gather(
        *(ask(connection, start + seconds) for connection in connections for _ in range(REQUESTS_IN_FLIGHT))
    )
    print(answered / (time.monotonic() - start), flush=True)
    for connection in connections:
        await connection.close()


class Ignoring:
    """A session that asks again at once, whatever the answer; its answers are counted."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, channel: ClientChannel) -> None:
        self._channel, self._refs, self.answered = channel, itertools.count(1), 0
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        while not channel.can_request:
            self.socket.send_multipart([b"", channel.hello()])
            channel.receive(self.socket.recv_multipart()[-1])

    def ask(self, body: bytes) -> None:
        """Send one request."""
        self.socket.send_multipart([b"", self._channel.request(next(self._refs), body)])

    def ask_again(self, body: bytes) -> None:
        """Take what has come, and ask as often again."""
        while self.socket.poll(0):
            self.answered += isinstance(self._channel.receive(self.socket.recv_multipart()[-1]), Reply)
            self.ask(body)


def _ignore(endpoint: str, certs: Path, preset: str, seconds: float) -> None:
    bundle = Bundle.load()
    spec = bundle.preset(preset).spec
    body = payload.OutgoingRequest(np.zeros(spec.shape, spec.dtype)).plaintext(30_000)
    credentials = keystore.load_client(certs, "greedy", now=datetime.now(UTC))
    with zmq.Context() as context:
        channels = (ClientChannel(credentials, bundle.identity, "127.0.0.1") for _ in range(MANY_SESSIONS))
        sessions = [Ignoring(context, endpoint, channel) for channel in channels]
        poller, by_socket = zmq.Poller(), {session.socket: session for session in sessions}
        for session in sessions:
            poller.register(session.socket, zmq.POLLIN)
            session.ask(body)  # ends its handshake
        for session in sessions * (REQUESTS_IN_FLIGHT - 1):
            session.ask(body)
        print("started", flush=True)
        start, before = time.monotonic(), sum(session.answered for session in sessions)
        while time.monotonic() < start + seconds:
            for socket, _ in poller.poll(100):
                by_socket[socket].ask_again(body)
        print((sum(session.answered for session in sessions) - before) / (time.monotonic() - start), flush=True)
        for session in sessions:
            session.socket.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", certs]:
            sys.exit(serve_default(Path(certs)))
        case ["greedy", endpoint, certs, preset, seconds]:
            os.nice(19)
            asyncio.run(_greedy(endpoint, Path(certs), preset, float(seconds)))
        case ["ignoring", endpoint, certs, preset, seconds]:
            os.nice(19)
            _ignore(endpoint, Path(certs), preset, float(seconds))
        case _:
            take_none(__doc__)
            main()
