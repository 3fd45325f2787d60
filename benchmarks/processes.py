"""Parts of a benchmark that run in a process of their own, and speak in lines on stdout."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


def serve_default(certs: Path) -> int:
    """Serve the default bundle with one tail until a signal, and say where; the exit code."""
    return serve(WorkerSettings("tcp://127.0.0.1:0", certs=certs, workers=1), on_ready=_announce)


def _announce(ready: Ready) -> None:
    print(ready.endpoint, flush=True)
