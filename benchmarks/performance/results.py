"""What a run measured: figures of each peer by round, and the machine; kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from securesplit.text import figures_json

HIGHER_IS_BETTER = frozenset({"per_core_1", "per_core_8", "per_core_64"})
"""Figures that get worse by falling; all others get worse by rising."""
JUDGED = ("p50_ms", "p99_ms", "cpu_ms", "request_bytes", "per_core_1", "per_core_8", "per_core_64")
"""Figures of ours that are compared with the last run, where a row has them."""
EXACT = frozenset({"request_bytes"})
"""Figures that no machine changes."""


@dataclass(frozen=True)
class Row:
    """One peer, or one preset of a served tail.

    Attributes:
        name: of the peer.
        task: ``photo``, ``inception``, ``encrypted``, or ``tail`` and a preset.
        protection: of what travels.
        is_ours: its ratios are judged.
        rounds: figures of each round, by name; names end in their unit.
        latency: percentiles over the requests of all rounds, ``p50_ms`` to ``p99_ms``; of a tail, with 8 clients.
        facts: what was measured once: install size, versions.
        missing: why there are no figures; empty where there are.
        meaning: what was changed in how its figures are taken; rows that do not mean the same are not compared.
    """

    name: str
    task: str
    protection: str
    is_ours: bool = False
    rounds: Sequence[Mapping[str, float]] = ()
    latency: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
    meaning: str = ""

    def figure(self, name: str) -> float | None:
        """Over all rounds: a percentile, what was measured once, or else the median; None where there is none."""
        once = {**self.latency, **self.facts}
        if name in once:
            return float(once[name])
        found = [figures[name] for figures in self.rounds if name in figures]
        return median(found) if found else None


@dataclass(frozen=True)
class Run:
    """All rows of one run.

    Attributes:
        machine: processor, cores, system, Python.
        when: date and time, UTC.
        load: 1-minute load average at the beginning of each round, other programs and this one.
        rows: of the tables.
        references: by task, the row whose figures ratios are taken of.
        took_s: seconds that all rounds took; environments and inputs were there before.
        accepted: figures that got worse since the run before, and were published all the same.
        because: why they were.
    """

    machine: Mapping[str, Any]
    when: str
    load: Sequence[float]
    rows: Sequence[Row]
    references: Mapping[str, str]
    took_s: float = 0.0
    accepted: Sequence[str] = ()
    because: str = ""

    def row(self, task: str, name: str) -> Row | None:
        """One row."""
        return next((row for row in self.rows if (row.task, row.name) == (task, name)), None)

    def reference(self, task: str) -> Row | None:
        """The row whose figures ratios of a task are taken of; None where it was not measured."""
        return self.measured(task, self.references[task]) if task in self.references else None

    def measured(self, task: str, name: str) -> Row | None:
        """As `row`; None where it was not measured."""
        row = self.row(task, name)
        return row if row is not None and row.rounds else None


def save(run: Run, file: Path) -> None:
    """As JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(figures_json(run, indent=1) + "\n")


def load(file: Path) -> Run | None:
    """A run that was kept; None where there is none."""
    if not file.exists():
        return None
    saved = json.loads(file.read_text())
    return Run(**saved | {"rows": [Row(**row) for row in saved["rows"]]})
