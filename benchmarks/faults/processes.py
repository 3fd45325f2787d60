"""Tails and fronts that are killed, drained and given new certificates, under load."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.faults.trial import Bound, Trial
from securesplit.pki import issuing
from securesplit_testing.health import metrics
from securesplit_testing.load import SUMS, Load, Questions, of_bundle
from securesplit_testing.serving import Process, now, process, wait_until

CALM_S = 4.0
BLOCK = 5  # faults between two calm phases
CLIENTS, PAUSE_S = 4, 0.02
TAILS = 4


def kill_tails(certs: Path, bound: Bound, engine: str = "Sum") -> list[object]:
    """``kill -9`` of one of `TAILS`, whatever it does, at random moments but not before most of the others are back."""
    draw = random.Random(1)  # noqa: S311  (a run must be repeatable)
    with process(certs, engine, workers=TAILS, metrics="127.0.0.1:0", **_options(engine)) as worker:
        trial = Trial(_load(worker.endpoint, certs, engine), bound)
        trial.load.answers(50, 60)
        while block := trial.left(BLOCK):
            with trial.phase("calm"):
                time.sleep(CALM_S)
            trial.weigh(worker.pid)
            with trial.phase("faults"):
                for _ in range(block):
                    time.sleep(draw.uniform(0.0, 0.4))
                    wait_until(lambda: _ready_tails(worker) >= TAILS - 1, 60)
                    os.kill(draw.choice(worker.tails()), signal.SIGKILL)
                    trial.faults += 1
            wait_until(lambda: _ready_tails(worker) == TAILS, 60)
        trial.weigh(worker.pid)
        return trial.row(f"kill -9 of one of {TAILS} tails, engine {engine}")


def _ready_tails(worker: Process) -> float:
    """How many tails can compute."""
    seen = metrics(worker.metrics)
    return seen["tails{state=idle}"] + seen["tails{state=busy}"]


def kill_fronts(certs: Path, bound: Bound, engine: str = "Sum") -> list[object]:
    """``kill -9`` of the front; a supervisor starts the next one at once, at the same address."""
    return _replace_fronts(certs, bound, engine, signal.SIGKILL, "kill -9 of the front")


def drain(certs: Path, bound: Bound, engine: str = "Sum") -> list[object]:
    """SIGTERM of the front; a supervisor starts the next one when it has ended."""
    return _replace_fronts(certs, bound, engine, signal.SIGTERM, "SIGTERM (drain) of the front")


def _replace_fronts(certs: Path, bound: Bound, engine: str, number: signal.Signals, what: str) -> list[object]:
    recoveries, codes = [], []
    worker = Process(certs, engine, "tcp://127.0.0.1:0", 1, _options(engine))
    endpoint = worker.endpoint
    trial = Trial(_load(endpoint, certs, engine), bound)
    try:
        trial.load.answers(20, 60)
        while block := trial.left(BLOCK):
            with trial.phase("calm"):
                time.sleep(CALM_S)
            with trial.phase("faults"):
                for _ in range(block):
                    worker.signal(number)
                    codes.append(worker.wait(60))
                    ended = time.monotonic()
                    worker = Process(certs, engine, endpoint, 1, _options(engine))
                    trial.load.answers(5, 60)
                    recoveries.append(trial.recovery_s(ended))
                    trial.faults += 1
        more = f"from the end to the next answer: median {statistics.median(recoveries):.2f} s, "
        more += f"longest {max(recoveries):.2f} s; exit codes {sorted(set(codes))}"
        return trial.row(f"{what}, engine {engine}", more)
    finally:
        trial.load.stop()
        worker.close()


def rotate(certs: Path, bound: Bound, engine: str = "bundle") -> list[object]:
    """New certificates of the server and the clients, a SIGHUP, and the clients reconnect with theirs."""
    with process(certs, engine, **_options(engine)) as worker:
        trial = Trial(_load(worker.endpoint, certs, engine), bound)
        trial.load.answers(50, 60)
        while trial.left(1):
            with trial.phase("calm"):
                time.sleep(2.0)
            trial.weigh(worker.pid)
            with trial.phase("faults"):
                before = _reloads(worker)
                issuing.renew(certs, days=1 + trial.faults % 5, now=now())
                trial.faults += 1
                worker.signal(signal.SIGHUP)
                _wait_for_reload(worker, before)
                trial.load.refresh()  # the devices get their files after the worker
                time.sleep(1.0)
        trial.weigh(worker.pid)
        return trial.row(f"certificates renewed, SIGHUP, engine {engine}")


def _wait_for_reload(worker: Process, before: int) -> None:
    wait_until(lambda: _reloads(worker) > before, 30)


def _reloads(worker: Process) -> int:
    return sum("certificates reloaded" in line for line in worker.log)


def _options(engine: str) -> dict[str, Any]:
    return {} if engine == "bundle" else {"pause_s": 0.005}


def _load(endpoint: str, certs: Path, engine: str) -> Load:
    return Load([endpoint], certs, CLIENTS, questions=questions(engine), pause_s=PAUSE_S)


def questions(engine: str) -> Questions:
    """What to ask an engine."""
    return of_bundle() if engine == "bundle" else SUMS
