"""A worker under load, in phases with and without faults that take turns, and the resulting row of the table."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from securesplit.worker.resources import resident_bytes
from securesplit_testing.load import Load

COLUMNS = (
    "what",
    "faults",
    "sent",
    "answered once",
    "lost",
    "p50 ms calm",
    "p50 ms faults",
    "p99 ms calm",
    "p99 ms faults",
    "p99 ratio",
    "front MiB",
    "front fds",
    "more",
)
MIB = 1 << 20


def resident_mib(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    return resident_bytes(pid) / MIB


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@dataclass(frozen=True)
class Bound:
    """When a trial ends.

    Attributes:
        count: faults, at most.
        minutes: at most, about.
    """

    count: int
    minutes: float


class Trial:
    """Notes when what was done to a worker.

    Args:
        load: the clients.
        bound: when it ends.

    Attributes:
        faults: how many there were.
    """

    def __init__(self, load: Load, bound: Bound) -> None:
        self.load, self.faults = load, 0
        self._count, self._end = bound.count, time.monotonic() + 60 * bound.minutes
        self._spans: dict[str, list[tuple[float, float]]] = {"calm": [], "faults": []}
        self._sizes: list[tuple[float, int]] = []

    def left(self, block: int) -> int:
        """How many faults come next, `block` at most; 0 at the end."""
        lost = f"{len(self.load.lost)} lost {self.load.lost[:1]}"
        print(f"{self.faults:,} faults, {self.load.sent:,} requests, {lost}", file=sys.stderr, flush=True)
        return min(block, self._count - self.faults) if time.monotonic() < self._end else 0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """All that is answered within belongs to the phase ``calm`` or ``faults``."""
        start = time.monotonic()
        yield
        self._spans[name].append((start, time.monotonic()))

    def weigh(self, pid: int) -> None:
        """Note memory and open files of the front."""
        self._sizes.append((resident_mib(pid), descriptors(pid)))

    def recovery_s(self, at: float) -> float:
        """From a moment to the first answer after it, in seconds."""
        return min((when for when, _ in list(self.load.answered) if when > at), default=float("inf")) - at

    def row(self, what: str, more: str = "") -> list[object]:
        """End the load; the row of the table."""
        self.load.stop()
        calm, faulty = (self._milliseconds(name) for name in self._spans)
        quantiles = [_percentile(taken, rank) for rank in (50, 99) for taken in (calm, faulty)]
        (mib, fds), (end_mib, end_fds) = (self._sizes[0], self._sizes[-1]) if self._sizes else ((0.0, 0), (0.0, 0))
        sent, answered = self.load.sent, len(self.load.answered)
        return [
            what,
            f"{self.faults:,}",
            f"{sent:,}",
            f"{answered:,}",
            sent - answered,
            *quantiles,
            quantiles[3] / quantiles[2],
            f"{mib:.0f} -> {end_mib:.0f}",
            f"{fds} -> {end_fds}",
            more,
        ]

    def _milliseconds(self, name: str) -> list[float]:
        spans = self._spans[name]
        return [taken for when, taken in self.load.answered if any(a <= when <= b for a, b in spans)]


def _percentile(values: list[float], rank: int) -> float:
    return statistics.quantiles(values, n=100)[rank - 1] if len(values) > 1 else float("nan")
