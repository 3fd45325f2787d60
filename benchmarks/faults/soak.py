"""A day scaled to half an hour: steady load and the usual mishaps, while memory and descriptors are watched."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.garbage import send
from benchmarks.faults.processes import questions
from benchmarks.faults.trial import Bound, Trial, descriptors, resident_mib
from benchmarks.table import show
from securesplit_testing.load import Load
from securesplit_testing.serving import process

SAMPLE_S = 5.0
CLIENTS, PAUSE_S = 4, 0.2
COLUMNS = ("process", "samples", "MiB first third", "MiB last third", "MiB slope an hour", "fds first", "fds last")


def soak(certs: Path, bound: Bound, engine: str = "bundle") -> list[object]:
    """Load for so long; each minute a tail is killed, every second one SIGHUP comes, a guest asks, garbage arrives."""
    end = time.monotonic() + 60 * bound.minutes
    with process(certs, engine, workers=2) as worker:
        trial = Trial(Load([worker.endpoint], certs, CLIENTS, questions=questions(engine), pause_s=PAUSE_S), bound)
        trial.load.answers(50, 60)
        oldest = worker.tails()[0]  # this one is left alone, and watched
        watched = {"front": worker.pid, "tail": oldest, "clients": os.getpid()}
        samples: dict[str, list[tuple[float, float, int]]] = {name: [] for name in watched}
        trial.weigh(worker.pid)
        turn = 0
        while time.monotonic() < end:
            mishap = turn % 12 == 6
            with trial.phase("faults" if mishap else "calm"):
                if mishap:
                    trial.faults += 1
                    _mishap(worker.pid, [pid for pid in worker.tails() if pid != oldest], worker.endpoint, trial.faults)
                    _guest(worker.endpoint, certs, engine)
                time.sleep(SAMPLE_S)
            for name, pid in watched.items():
                samples[name].append((time.monotonic(), resident_mib(pid), descriptors(pid)))
            turn += 1
        trial.weigh(worker.pid)
        show("faults-soak-memory", COLUMNS, [_flat(name, taken) for name, taken in samples.items()])
        return trial.row(f"soak of {bound.minutes:g} min, engine {engine}", "memory: faults-soak-memory")


def _mishap(front: int, tails: Sequence[int], endpoint: str, turn: int) -> None:
    draw = random.Random(turn)  # noqa: S311  (a run must be repeatable)
    os.kill(draw.choice(tails), signal.SIGKILL)
    if turn % 2:
        os.kill(front, signal.SIGHUP)
    send(endpoint, 100, turn)


def _guest(endpoint: str, certs: Path, engine: str) -> None:
    guest = Load([endpoint], certs, 1, questions=questions(engine))
    guest.answers(1, 30)
    guest.stop()


def _flat(name: str, samples: Sequence[tuple[float, float, int]]) -> list[object]:
    """Thirds of the samples side by side, and the slope of the last two thirds."""
    third = len(samples) // 3
    settled = samples[third:]
    times, sizes = [when / 3_600 for when, _, _ in settled], [size for _, size, _ in settled]
    slope = statistics.linear_regression(times, sizes).slope
    first, last = (statistics.median(size for _, size, _ in part) for part in (samples[:third], samples[-third:]))
    return [name, len(samples), first, last, slope, samples[third][2], samples[-1][2]]
