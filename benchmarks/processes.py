"""Parts of a benchmark that run side by side: processes, which speak in lines on stdout, and threads."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from securesplit.pki import issuing
from securesplit.transport.endpoint import LOOPBACK
from securesplit.worker import Ready, WorkerSettings, serve


@contextlib.contextmanager
def process(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m module arguments``, ended with the context."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.terminate()


def line(started: subprocess.Popen[str]) -> str:
    """The next line that it says."""
    assert started.stdout is not None
    return started.stdout.readline().strip()


@contextlib.contextmanager
def certificates(*clients: str) -> Iterator[Path]:
    """A folder of certificates for a worker on loopback and these clients, gone with the context."""
    with tempfile.TemporaryDirectory() as folder:
        certs = Path(folder) / "certs"
        issuing.create(certs, server_names=[LOOPBACK], clients=list(clients), days=1, now=datetime.now(UTC))
        yield certs


class Threads:
    """Threads that run until they are stopped.

    Args:
        targets: what they run; each returns soon once `over` is set.
    """

    def __init__(self, *targets: Callable[[], None]) -> None:
        self.over = threading.Event()
        self._threads = [threading.Thread(target=target) for target in targets]

    def start(self) -> None:
        """Start all of them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End and wait."""
        self.over.set()
        for thread in self._threads:
            thread.join()


def serve_default(certs: Path) -> int:
    """Serve the default bundle with one tail until a signal, and say where; the exit code."""
    return serve(WorkerSettings(f"tcp://{LOOPBACK}:0", certs=certs, workers=1), on_ready=_announce)


def _announce(ready: Ready) -> None:
    print(ready.endpoint, flush=True)
