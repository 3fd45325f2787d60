"""What sockets, sealing, queue and processes add to a request: ``python -m benchmarks.transport``.

An engine that computes nothing stands in for the network, so that a round trip is all overhead; the last rows take the
default bundle and subtract what its tail says it took. Wanted of those: at the median 3 % of the tail or 1 ms, at p99
10 % of the tail or 1 ms, whichever is more. Beside each stands the floor: a bare ZeroMQ REP that works for as long as
that tail and answers, without sessions, keys, queue or processes.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from benchmarks.arguments import take_none
from benchmarks.processes import certificates, line, process, serve_default
from benchmarks.table import show
from securesplit.channel.tensor import TensorSpec
from securesplit.errors import BundleError, UnreachableError
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials
from securesplit.transport.connection import Answer, Connection
from securesplit.worker import EmbeddedWorker, WorkerSettings
from securesplit.worker.served_model import ServedModel
from securesplit.worker.service import Ready, serve_tail
from securesplit.worker.settings import EngineSpec

SHAPE = (384,)
NOTHING = ServedModel(
    bytes(32), "nothing", {TensorSpec(SHAPE, "int8"): "p"}, EngineSpec("benchmarks.transport:Nothing")
)
REPEATS = 1_000
CLIENTS = 8


class Nothing:
    """An engine that computes nothing."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def __call__(self, _preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, *shape)`` -> ``(n,)`` zeros."""
        return np.zeros(len(releases), np.float32)


def main() -> None:
    """Print and save the table."""
    release = np.zeros(SHAPE, np.int8)
    rows: list[list[object]] = []
    with certificates("device") as certs:
        credentials = keystore.load_client(certs, now=datetime.now(UTC))
        with process("benchmarks.transport", "nothing", str(certs)) as own:
            endpoint = line(own)
            rows.append(["warm request", *_warm(endpoint, credentials, NOTHING.identity, release), "<= 1"])
            rows.append(["first request (connect, handshake)", *_first(endpoint, credentials, release), ""])
            rows.append([f"requests/s, {CLIENTS} clients", _throughput(endpoint, credentials, release), "", ""])
        with EmbeddedWorker(served=NOTHING) as worker:
            warm = _warm(worker.endpoint, worker.client_credentials, NOTHING.identity, release)
            rows.append(["warm request, embedded worker", *warm, ""])
        rows.append(["error where nothing listens", _absent_ms(credentials, release), "", "<= 5000"])
        rows += _bundle_rows(certs, credentials)
    show("transport", ["what", "median ms", "p99 ms", "wanted"], rows)


def _bundle_rows(certs: Path, credentials: Credentials) -> list[list[object]]:
    try:
        bundle = Bundle.load()
    except BundleError:
        return []
    rows = []
    with process("benchmarks.transport", "bundle", str(certs)) as worker:
        endpoint = line(worker)
        for name, spec in bundle.manifest.in_the_open.items():
            release = np.zeros(spec.shape, spec.dtype)
            answers = _answers(endpoint, credentials, bundle.identity, release)
            tail = _summary([answer.tail_ms for answer in answers])
            wanted = f"<= {max(1.0, 0.03 * tail[0]):.2g}, {max(1.0, 0.1 * tail[1]):.2g}"
            what = f"warm request over its tail of {tail[0]:.2g} ms, preset {name}"
            rows.append([what, *_over_tail(answers), wanted])
            rows.append(["    bare REQ/REP over as long", *_summary(_bare(tail[0], answers[0].payload_bytes)), ""])
    return rows


def _bare(busy_ms: float, size: int) -> list[float]:
    """What a bare ZeroMQ round trip with so many bytes takes over a server's work of `busy_ms`, in milliseconds."""
    with process("benchmarks.transport", "bare", str(busy_ms)) as server, zmq.Context() as context:
        socket = context.socket(zmq.REQ)
        socket.connect(f"tcp://127.0.0.1:{line(server)}")
        times = []
        for _ in range(REPEATS + 50):
            start = time.perf_counter()
            socket.send(bytes(size))
            worked_ms = float(socket.recv())
            times.append((time.perf_counter() - start) * 1_000 - worked_ms)
        socket.close(linger=0)
        return times[50:]


def _serve_bare(busy_ms: float) -> None:
    with zmq.Context() as context:
        socket = context.socket(zmq.REP)
        print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
        while True:
            socket.recv()
            start = time.perf_counter()
            while (worked_ms := (time.perf_counter() - start) * 1_000) < busy_ms:
                pass
            socket.send(str(worked_ms).encode())


def _warm(endpoint: str, credentials: Credentials, identity: bytes, release: NDArray[Any]) -> tuple[float, float]:
    return _over_tail(_answers(endpoint, credentials, identity, release))


def _over_tail(answers: list[Answer]) -> tuple[float, float]:
    return _summary([answer.round_trip_ms - answer.tail_ms for answer in answers])


def _answers(endpoint: str, credentials: Credentials, identity: bytes, release: NDArray[Any]) -> list[Answer]:
    with Connection([endpoint], credentials, identity) as connection:
        return [connection.request(release) for _ in range(REPEATS + 50)][50:]


def _first(endpoint: str, credentials: Credentials, release: NDArray[Any]) -> tuple[float, float]:
    def connect() -> float:
        with Connection([endpoint], credentials, NOTHING.identity) as connection:
            return connection.request(release).round_trip_ms

    return _summary([connect() for _ in range(100)])


def _throughput(endpoint: str, credentials: Credentials, release: NDArray[Any]) -> float:
    """Requests a second, in the column of the milliseconds."""

    def ask(connection: Connection) -> None:
        with connection:
            for _ in range(REPEATS // 2):
                connection.request(release)

    connections = [Connection([endpoint], credentials, NOTHING.identity) for _ in range(CLIENTS)]
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(ask, connections))
    return CLIENTS * (REPEATS // 2) / (time.perf_counter() - start)


def _absent_ms(credentials: Credentials, release: NDArray[Any]) -> float:
    start = time.perf_counter()
    nowhere = Connection(["tcp://127.0.0.1:1"], credentials, NOTHING.identity)
    with nowhere, contextlib.suppress(UnreachableError):
        nowhere.request(release)
    return (time.perf_counter() - start) * 1_000


def _summary(milliseconds: list[float]) -> tuple[float, float]:
    return float(np.median(milliseconds)), float(np.percentile(milliseconds, 99))


def _serve(certs: Path, announce: Callable[[Ready], None]) -> int:
    return serve_tail(NOTHING, WorkerSettings("tcp://127.0.0.1:0", certs=certs, workers=1), on_ready=announce)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["nothing", certs]:
            sys.exit(_serve(Path(certs), lambda ready: print(ready.endpoint, flush=True)))
        case ["bare", busy_ms]:
            _serve_bare(float(busy_ms))
        case ["bundle", certs]:
            sys.exit(serve_default(Path(certs)))
        case _:
            take_none(__doc__)
            main()
