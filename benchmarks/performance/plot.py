"""The picture of a run: how long a photo takes with each peer, and what a core serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.performance.results import Row, Run
from benchmarks.performance.rounds import CLIENTS

_OURS, _OTHERS, _SPAN = "#1b6ca8", "#9aa5b1", "#33404d"


def draw(run: Run, file: Path) -> None:
    """Write a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, *served) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    _milliseconds(left, [row for row in run.rows if row.task == "photo" and row.rounds])
    for axes, task in zip(served, ("tail none", "tail certified"), strict=True):
        _rates(axes, task, [row for row in run.rows if row.task == task and row.rounds])
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _milliseconds(axes: Any, rows: list[Row]) -> None:
    """Bars to the median, a line on to p99; logarithmic, since peers lie two powers of ten apart."""
    for place, row in enumerate(reversed(rows)):
        found = row.latency
        axes.barh(place, found["p50_ms"], color=_OURS if row.is_ours else _OTHERS)
        axes.plot([found["p50_ms"], found["p99_ms"]], [place, place], color=_SPAN, linewidth=1.5)
        axes.annotate(
            f"{found['p50_ms']:.3g}", (found["p99_ms"], place), (4, -3), textcoords="offset points", fontsize=8
        )
    _scale(axes)
    axes.margins(x=0.15)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=8)
    axes.set_title("Photo to answer: ms, median (bar) and p99 (line)", fontsize=9)


def _scale(axes: Any) -> None:
    """Logarithmic, with marks at powers of ten and halfway to the next."""
    from matplotlib import ticker

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.tick_params(axis="x", labelsize=8)


def _rates(axes: Any, task: str, rows: list[Row]) -> None:
    height = 0.8 / len(CLIENTS)
    for place, row in enumerate(reversed(rows)):
        for number, clients in enumerate(CLIENTS):
            rate = row.figure(f"per_core_{clients}") or 0.0
            shade = 1.0 - 0.28 * number
            color = _OURS if row.is_ours else _OTHERS
            axes.barh(place + (1 - number) * height, rate, height, color=color, alpha=shade)
            axes.annotate(
                f"{rate:,.0f}", (rate, place + (1 - number) * height), (3, -3), textcoords="offset points", fontsize=7
            )
    _scale(axes)
    axes.margins(x=0.2)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=8)
    axes.set_title(f"{task}, {'/'.join(map(str, CLIENTS))} clients: requests/s a core", fontsize=9)
