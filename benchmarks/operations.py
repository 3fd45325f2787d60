"""What watching a worker costs its requests: ``python -m benchmarks.operations``.

One worker without and one with ``--metrics`` and ``--session-log``, asked in turns, so that whatever else the machine
does falls on both alike; then the second one while a process of its own reads ``/metrics`` again and again.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import take_none
from benchmarks.processes import certificates
from benchmarks.table import show
from benchmarks.transport import NOTHING, SHAPE
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials, Validity
from securesplit.transport.connection import Connection
from securesplit.worker import PoolSettings, WorkerSettings
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.observer import Status
from securesplit.worker.monitoring.prometheus import WorkerCollector
from securesplit.worker.service import Ready, serve_tail

REQUESTS, TURNS = 200, 10
SCRAPE = """
import sys, time, urllib.request
while True:
    urllib.request.urlopen(f"http://{sys.argv[1]}/metrics").read()
    time.sleep(float(sys.argv[2]))
"""
RELEASE = np.zeros(SHAPE, np.int8)


def main() -> None:
    """Print and save the table."""
    rows: list[list[object]] = [
        ["counting for one request", "", "", _count_us()],
        ["making one page of metrics (not in the front's thread)", "", "", _page_us()],
    ]
    with certificates("device") as certs:
        device = keystore.load_client(certs, now=datetime.now(UTC))
        with _worker(certs, watched=False) as plain, _worker(certs, watched=True) as watched:
            rows += _rows({"nobody watches": plain, "metrics and session log": watched}, device)
            for pause_s in (1.0, 0.1):
                with _scraping(watched.address, pause_s):
                    beside = f"while a page is read every {pause_s:g} s"
                    rows += _rows({f"nobody watches, {beside}": plain, f"metrics, {beside}": watched}, device)
    show("operations", ["what", "median ms", "p99 ms", "CPU of the front's thread, us"], rows)


def _rows(workers: dict[str, _Worker], device: Credentials) -> list[list[object]]:
    """Ask the workers in turns."""
    taken: dict[str, list[float]] = {name: [] for name in workers}
    cpu_us = dict.fromkeys(workers, 0.0)
    with contextlib.ExitStack() as stack:
        connections = {
            name: stack.enter_context(Connection([worker.endpoint], device, NOTHING.identity))
            for name, worker in workers.items()
        }
        for connection in connections.values():
            connection.request(RELEASE)
        for _ in range(TURNS):
            for name, connection in connections.items():
                before = _cpu_us(workers[name].pid)
                taken[name] += [connection.request(RELEASE).round_trip_ms for _ in range(REQUESTS)]
                cpu_us[name] += _cpu_us(workers[name].pid) - before
    return [[f"request, {name}", *np.percentile(ms, [50, 99]), cpu_us[name] / len(ms)] for name, ms in taken.items()]


def _cpu_us(pid: int) -> float:
    """CPU that the main thread of a process has had (proc(5), schedstat); the front is that thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1_000


def _count_us() -> float:
    counters = Counters()

    def count() -> None:
        counters.computed(0.001, 0.002, 0.004)
        counters.batch.observe(1)
        counters.requests["done"] += 1
        counters.turned(1.0, 1.001)

    return _fastest_us(count, 5_000)


def _page_us() -> float:
    now = datetime.now(UTC)
    ends = {"server": Validity(now, now, now)}
    collector = WorkerCollector(Counters(), bundle_id="", pool=PoolSettings(), ends=lambda: ends)
    status = Status(1, 0, 0, 0, {"idle": 1}, (), was_ready=True, is_draining=False, silent_s=0, expires_at=now)
    return _fastest_us(lambda: collector.page(status), 50)


def _fastest_us(action: Callable[[], object], times: int) -> float:
    """CPU of one call, in the best of ten rounds."""
    rounds = []
    for _ in range(10):
        start = time.process_time()
        for _ in range(times):
            action()
        rounds.append((time.process_time() - start) / times)
    return 1e6 * min(rounds)


@dataclass(frozen=True)
class _Worker:
    pid: int
    endpoint: str
    address: str


@contextlib.contextmanager
def _worker(certs: Path, *, watched: bool) -> Iterator[_Worker]:
    """A worker in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.operations", str(certs), str(int(watched))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        endpoint, address = process.stdout.readline().split()
        yield _Worker(process.pid, endpoint, address)
        process.terminate()


@contextlib.contextmanager
def _scraping(address: str, pause_s: float) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", SCRAPE, address, str(pause_s)], stderr=subprocess.DEVNULL) as process:
        time.sleep(1.0)
        yield
        process.terminate()


def _serve(certs: Path, *, watched: bool) -> int:
    def announce(ready: Ready) -> None:
        print(ready.endpoint, ready.metrics, flush=True)

    shown: dict[str, Any] = {"metrics": "127.0.0.1:0", "session_log": certs / "audit.jsonl"} if watched else {}
    settings = WorkerSettings("tcp://127.0.0.1:0", certs=certs, workers=1, **shown)
    return serve_tail(NOTHING, settings, on_ready=announce)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [certs, "0" | "1" as watched]:
            sys.exit(_serve(Path(certs), watched=watched == "1"))
        case _:
            take_none(__doc__)
            main()
