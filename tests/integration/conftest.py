"""A worker as an operator starts it, and the command line as a user calls it."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from securesplit.cli import main

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass
class Worker:
    """A running ``securesplit tail-worker``."""

    endpoint: str
    certs: Path
    process: subprocess.Popen[str]
    ready_line: str


def run_command(*arguments: object, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run ``securesplit`` in a process of its own."""
    command = [sys.executable, "-m", "securesplit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)


@pytest.fixture
def securesplit() -> Command:
    """``securesplit("diagnose", ...)`` runs the command line; its result has returncode, stdout and stderr."""
    return run_command


@pytest.fixture
def securesplit_here(capfd: pytest.CaptureFixture[str]) -> Command:
    """The same within this process, which takes a second less."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = list(map(str, arguments))
        code = main.run(command)
        said = capfd.readouterr()
        return subprocess.CompletedProcess(command, code, said.out, said.err)

    return call


def counted(state: Path) -> int:
    """Rows of a device's ledger that are on the disk, as another process sees them."""
    with sqlite3.connect(state / "ledger.sqlite3") as book:
        return int(book.execute("SELECT COUNT(*) FROM releases").fetchone()[0])


def start_worker(certs: Path, bind: str = "tcp://127.0.0.1:0") -> Worker:
    """Start a real worker of one tail and wait for its ready line."""
    command = [sys.executable, "-m", "securesplit", "tail-worker", "--bind", bind, "--workers", "1"]
    process = subprocess.Popen([*command, "--certs", str(certs)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"ready at (tcp://\S+)", line):
            return Worker(found.group(1), certs, process, line)
    raise AssertionError("".join(lines))


def stop_worker(worker: Worker) -> int:
    """End it as an operator does; return its exit code."""
    worker.process.terminate()
    worker.process.communicate(timeout=20)
    return worker.process.returncode


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``securesplit keygen`` makes."""
    folder = tmp_path_factory.mktemp("keys") / "certs"
    done = run_command("keygen", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def worker(certs: Path) -> Iterator[Worker]:
    """One worker for all tests of a module that leave it as it is."""
    started = start_worker(certs)
    yield started
    assert stop_worker(started) == 0
