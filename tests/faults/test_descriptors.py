"""Too few file descriptors: at the worker, where peers take them all, and at the device."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from securesplit_testing.garbage import GREETING, READY
from securesplit_testing.load import Load
from securesplit_testing.serving import Process, process, wait_until
from securesplit_testing.threads import beside

pytestmark = pytest.mark.faults
LIMIT, PEERS = 160, 400
LIMITS = (6, 8, 10, 12, 14, 20, 30)
"""Files that a device may open."""
CODES = {2, 3, 5, 6, 9, 10}
"""Exit codes that say what is wrong; 1 is an error of our own, and a negative one a crash."""


def few(limit: int) -> list[str]:
    """A command that lets the rest of its line open so few files."""
    return ["prlimit", f"--nofile={limit}:{limit}"]


def hold(host: str, port: int, stop: threading.Event) -> None:
    """Keep as many connections open as the worker takes, each after a proper greeting; come back when thrown out."""
    peers: list[socket.socket] = []
    while not stop.is_set():
        with contextlib.suppress(OSError):
            peers.append(socket.create_connection((host, port), 0.5))
            peers[-1].sendall(GREETING + READY)
        if len(peers) > PEERS:
            peers.pop(0).close()
        time.sleep(0.001)
    for peer in peers:
        peer.close()


@pytest.fixture
def starved(certs: Path) -> Iterator[Process]:
    """A worker that may open few files, and a peer that takes as many of them as it gets."""
    with process(certs, inside=few(LIMIT)) as worker:
        host, port = worker.endpoint.removeprefix("tcp://").split(":")
        with beside(partial(hold, host, int(port))):
            yield worker


def test_peers_that_exhaust_descriptors_are_dropped(starved: Process, load: Callable[..., Load]) -> None:
    wait_until(lambda: any("take all file descriptors" in line for line in starved.log))
    clients = load(starved.endpoint, clients=2)
    clients.answers(30, 60)
    for _ in range(3):  # a tail can be started all the same
        (tail,) = starved.tails()
        os.kill(tail, signal.SIGKILL)
        clients.answers(10, 60)
        wait_until(lambda dead=tail: starved.tails() not in ([], [dead]))
    clients.check()
    assert len(list(Path(f"/proc/{starved.pid}/fd").iterdir())) < LIMIT


def test_a_worker_that_may_open_too_few_files_says_so(certs: Path) -> None:
    with process(certs, workers=2, inside=few(100)) as worker:
        assert worker.wait(20) == 2
        assert "error: this process may open 100 files, too few for 2 tails and their clients" in worker.log
        assert any(line.startswith("hint: ulimit -n 160") for line in worker.log)


def test_a_device_that_may_open_few_files_gives_a_clear_error(certs: Path, draw_photo: Callable[..., Path]) -> None:
    photo = str(draw_photo(1))
    with process(certs, "bundle") as worker, ThreadPoolExecutor(3) as threads:

        def ask(limit: int) -> subprocess.CompletedProcess[str]:
            command = [*few(limit), sys.executable, "-m", "securesplit", "diagnose", photo]
            return subprocess.run(
                [*command, "--connect", worker.endpoint, "--certs", str(certs)],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

        ended = dict(zip(LIMITS, threads.map(ask, LIMITS), strict=True))
    for limit, done in ended.items():
        assert done.returncode in CODES, (limit, done.stderr)
        assert "error: " in done.stderr, limit
        assert "hint: " in done.stderr, limit
        assert "Traceback" not in done.stderr, limit
