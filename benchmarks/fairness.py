"""A greedy client with a good certificate, and what the others notice: ``python -m benchmarks.fairness``.

Against the default bundle in a worker of its own. Three modest clients ask one photo after the other, with a pause; the
greedy one keeps 16 sessions full (eight requests each), from a process of its own that runs at the lowest priority: it
stands for another machine, which takes none of the worker's cores. Quiet and greedy rounds alternate, so that whatever
else this machine does falls on both. Wanted: the others' p50 <= 2 x. (A prototype without turns: 15 x.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.processes import line, process, serve_default
from benchmarks.table import show
from securesplit.channel import issuing, keystore
from securesplit.channel.credentials import Credentials
from securesplit.errors import SecureSplitError
from securesplit.model import Bundle
from securesplit.transport.aio import IN_FLIGHT, AsyncConnection
from securesplit.transport.client import Connection

ROUNDS = 3
HALF_S = 4.0
MODEST = ("one", "two", "three")
THINK_S = 0.02
SESSIONS = 16
PRESETS = ("private", "compact")


class Modest:
    """Clients that ask for one photo at a time; their milliseconds go to `seen` of the moment."""

    def __init__(self, endpoint: str, certs: Path, preset: str) -> None:
        self.seen: list[float] = []
        self._over = threading.Event()
        loaded = [keystore.load_client(certs, name, now=datetime.now(UTC)) for name in MODEST]
        self._threads = [threading.Thread(target=self._ask, args=(endpoint, one, preset)) for one in loaded]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End and wait."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, endpoint: str, credentials: Credentials, preset: str) -> None:
        bundle = Bundle.load()
        spec = bundle.preset(preset).spec
        release = np.zeros(spec.shape, spec.dtype)
        with Connection([endpoint], credentials, bundle.identity) as connection:
            while not self._over.wait(THINK_S):
                seen = self.seen
                seen.append(connection.request(release).round_trip_ms)


def main() -> None:
    """Print and save the table."""
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        certs = Path(folder) / "certs"
        clients = [*MODEST, "greedy"]
        issuing.create(certs, server_names=["127.0.0.1"], clients=clients, days=1, now=datetime.now(UTC))
        with process("benchmarks.fairness", "serve", str(certs)) as worker:
            endpoint = line(worker)
            rows.extend([preset, *_compare(endpoint, certs, preset)] for preset in PRESETS)
    columns = ["preset", "greedy requests/s", "others' p50 ms quiet", "greedy", "ratio", "wanted"]
    show("fairness", [*columns, "p99 ms quiet", "greedy"], rows)


def _compare(endpoint: str, certs: Path, preset: str) -> list[object]:
    quiet: list[float] = []
    greedy: list[float] = []
    rates: list[float] = []
    modest = Modest(endpoint, certs, preset)
    time.sleep(1.0)
    for _ in range(ROUNDS):
        modest.seen = quiet
        time.sleep(HALF_S)
        modest.seen = []
        with process("benchmarks.fairness", "greedy", endpoint, str(certs), preset, str(HALF_S + 1.0)) as load:
            line(load)
            time.sleep(0.5)
            modest.seen = greedy
            time.sleep(HALF_S)
            modest.seen = []
            rates.append(float(line(load)))
        time.sleep(0.5)
    modest.stop()
    (p50, p99), (greedy_p50, greedy_p99) = (np.percentile(times, (50, 99)) for times in (quiet, greedy))
    figures = [float(np.mean(rates)), p50, greedy_p50, greedy_p50 / p50]
    return [*(round(float(f), 2) for f in figures), "<= 2", round(float(p99), 1), round(float(greedy_p99), 1)]


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
    await asyncio.gather(*(ask(connection, start + seconds) for connection in connections for _ in range(IN_FLIGHT)))
    print(answered / (time.monotonic() - start), flush=True)
    for connection in connections:
        await connection.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", certs]:
            sys.exit(serve_default(Path(certs)))
        case ["greedy", endpoint, certs, preset, seconds]:
            os.nice(19)
            asyncio.run(_greedy(endpoint, Path(certs), preset, float(seconds)))
        case _:
            main()
