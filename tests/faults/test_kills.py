"""Kills, hangs, drains and restarts under load: no request is lost, and every answer is the right one."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from securesplit_testing.load import Load
from securesplit_testing.serving import process
from securesplit_testing.timing import took_less_than

pytestmark = pytest.mark.faults
LoadOn = Callable[..., Load]
TAIL_KILLS, TAIL_HANGS, FRONT_KILLS, DRAINS = 20, 4, 6, 6


def test_tails_that_are_killed_under_load_lose_nothing(certs: Path, load: LoadOn) -> None:
    draw = random.Random(1)
    with process(certs, workers=2, pause_s=0.005) as worker:
        clients = load(worker.endpoint)
        for _ in range(TAIL_KILLS):
            clients.answers(20)
            os.kill(draw.choice(worker.tails()), signal.SIGKILL)
        clients.answers(50)
        clients.check()


def test_tails_that_hang_under_load_lose_nothing(certs: Path, load: LoadOn) -> None:
    with process(certs, workers=2, pause_s=0.005, job_timeout_s=0.5) as worker:
        clients = load(worker.endpoint)
        for turn in range(TAIL_HANGS):
            clients.answers(20)
            os.kill(worker.tails()[turn % 2], signal.SIGSTOP)
        clients.answers(50)
        clients.check()


def test_fronts_killed_under_load_lose_nothing(certs: Path, load: LoadOn) -> None:
    with process(certs, pause_s=0.005) as worker:
        endpoint = worker.endpoint
        clients = load(endpoint)
        clients.answers(20)
        worker.signal(signal.SIGKILL)
        worker.wait()
    for _ in range(FRONT_KILLS - 1):
        with process(certs, bind=endpoint, pause_s=0.005) as worker:
            start = time.monotonic()
            clients.answers(4)
            took_less_than(2.0, start)
            clients.answers(20)
            worker.signal(signal.SIGKILL)
            worker.wait()
    with process(certs, bind=endpoint, pause_s=0.005):
        clients.answers(20)
        clients.check()


def test_drains_under_load_lose_nothing(certs: Path, load: LoadOn) -> None:
    clients: Load | None = None
    endpoint = "tcp://127.0.0.1:0"
    for _ in range(DRAINS):
        with process(certs, bind=endpoint, pause_s=0.02) as worker:
            endpoint = worker.endpoint
            clients = clients or load(endpoint)
            clients.answers(20)
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
    assert clients is not None
    with process(certs, bind=endpoint, pause_s=0.02):
        clients.answers(20)
        clients.check()


def test_rotating_certificates_under_load_loses_nothing(certs: Path, load: LoadOn) -> None:
    with process(certs, pause_s=0.005) as worker:
        clients = load(worker.endpoint)
        for turn in range(10):
            clients.answers(10)
            worker.signal(signal.SIGHUP)
            while sum("certificates reloaded" in line for line in worker.log) <= turn:
                time.sleep(0.01)
        clients.answers(10)
        clients.check()
