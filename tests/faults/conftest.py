"""Load on a real worker while something goes wrong with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from securesplit.channel import issuing, keystore
from securesplit.errors import SecureSplitError
from securesplit.transport.client import Connection
from tests.worker.serving import IDENTITY, now, release


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A folder as `keygen` writes it."""
    folder = tmp_path / "certs"
    issuing.create(folder, server_names=["127.0.0.1"], clients=["device"], days=1, now=now())
    return folder


class Load:
    """Clients that ask one request after the other, and check every answer."""

    def __init__(self, endpoint: str, certs: Path, clients: int) -> None:
        self._connections = [
            Connection([endpoint], keystore.load_client(certs, now=now()), IDENTITY) for _ in range(clients)
        ]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(connection,)) for connection in self._connections]
        self.milliseconds: list[float] = []
        self.lost: list[str] = []
        for thread in self._threads:
            thread.start()

    def _run(self, connection: Connection) -> None:
        n = 0
        while not self._stop.is_set():
            n = (n + 1) % 100
            try:
                answer = connection.request(release(n))
            except SecureSplitError as error:
                self.lost.append(error.message)
                continue
            self.milliseconds.append(answer.round_trip_ms)
            if answer.logit != n:
                self.lost.append(f"{answer.logit} instead of {n}")

    def answers(self, more: int, within_s: float = 30.0) -> None:
        """Wait until so many more requests were answered."""
        goal, end = len(self.milliseconds) + more, time.monotonic() + within_s
        while len(self.milliseconds) < goal:
            assert time.monotonic() < end, f"no progress; lost: {self.lost}"
            time.sleep(0.002)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()


@pytest.fixture
def load(certs: Path) -> Iterator[Callable[..., Load]]:
    """``load(endpoint, clients=4)`` starts clients that ask until the test ends."""
    started: list[Load] = []

    def start(endpoint: str, clients: int = 4) -> Load:
        started.append(Load(endpoint, certs, clients))
        return started[-1]

    yield start
    for each in started:
        each.stop()
