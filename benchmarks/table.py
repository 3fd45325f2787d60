"""Print a table and keep it: ``build/bench/NAME.txt`` for people, ``NAME.json`` for tools."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from securesplit.text import figures_json

FOLDER = Path("build/bench")


def show(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print `rows` under `columns` and save them under `name`."""
    cells = [[_text(v) for v in row] for row in rows]
    widths = [max(len(line[i]) for line in (columns, *cells)) for i in range(len(columns))]
    lines = [
        "  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in [list(columns), *cells]
    ]
    text = "\n".join(lines)
    print(f"\n{name}\n{text}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.txt").write_text(text + "\n")
    record = {
        "machine": f"{platform.machine()} {platform.system()}",
        "columns": list(columns),
        "rows": [[_plain(v) for v in r] for r in rows],
    }
    (FOLDER / f"{name}.json").write_text(figures_json(record, indent=1) + "\n")


def _plain(value: Any) -> str | float | None:
    """As JSON has it: a number of NumPy's too, the text of anything else."""
    found = value.item() if isinstance(value, np.generic) else value
    return found if isinstance(found, str | int | float | None) else str(found)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def median_ms(repeats: int, *actions: Callable[[], object]) -> list[float]:
    """Median milliseconds of each action, the actions taken in turn so that noise falls on all of them alike."""
    times: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    for _ in range(repeats):
        for action, taken in zip(actions, times, strict=True):
            started = time.perf_counter()
            action()
            taken.append(1e3 * (time.perf_counter() - started))
    return [median(t) for t in times]
