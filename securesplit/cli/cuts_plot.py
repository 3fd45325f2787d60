"""The picture of ``securesplit cuts --measure --plot``: where time goes and what leaks, cut by cut."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from securesplit import atomic
from securesplit.cli.targets import check_writable
from securesplit.errors import ConfigError
from securesplit.text import pip_install

if TYPE_CHECKING:
    from securesplit.cli.cuts_measured import MeasuredCut, MeasuredCuts

SUFFIXES: Final = (".png", ".svg", ".pdf")
_PARTS: Final = {"head, device": "#2166ac", "transfer": "#bdbdbd", "tail, worker": "#e08214"}
_LEAKAGE: Final = "#b2182b"
_INCHES_A_CUT, _MARGIN_INCHES, _HEIGHT_INCHES = 0.17, 2.5, 6.5


def check(file: Path) -> None:
    """Refuse before minutes of work what `draw` could not write.

    Raises:
        ConfigError: another kind of file, one that cannot be written, or matplotlib is missing.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--plot cannot write {file}", hint=f"give it one of the endings {', '.join(SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib, which is not installed", hint=pip_install("securesplit[audit]"))
    check_writable(file, "--plot")


def draw(found: MeasuredCuts, file: Path) -> None:
    """Write the picture.

    Raises:
        ConfigError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    rows = [row for row in found.cuts if row.times is not None]
    made = Figure((_MARGIN_INCHES + _INCHES_A_CUT * max(len(rows), 24), _HEIGHT_INCHES), layout="constrained")
    above, below = made.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _times(above, rows)
    _leakage(below, rows, found)
    if found.recommendation is not None and found.recommendation.layer is not None:
        _mark(above, below, [row.cut.layer for row in rows].index(found.recommendation.layer))
    below.set_xticks(range(len(rows)), [row.cut.layer for row in rows], rotation=90, fontsize=7)
    below.set_xlim(-0.7, len(rows) - 0.3)
    try:
        with atomic.atomic_write(file) as draft:
            made.savefig(draft, format=file.suffix.lower().removeprefix("."), dpi=110)
    except OSError as error:
        raise ConfigError(f"cannot write {file} ({error.strerror})", hint="choose another --plot") from None


def _times(axes: Any, rows: list[MeasuredCut]) -> None:
    bottom = [0.0] * len(rows)
    for (name, colour), values in zip(_PARTS.items(), zip(*map(_parts, rows), strict=True), strict=True):
        if any(values):
            axes.bar(range(len(rows)), values, 0.8, bottom, color=colour, label=name)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    axes.set(ylabel="ms a photo", title="Time by cut")
    axes.legend(fontsize=8)


def _parts(row: MeasuredCut) -> tuple[float, float, float]:
    """Milliseconds of head, transfer and tail."""
    if row.latency is not None:
        return row.latency.head_ms, row.latency.transfer_ms, row.latency.tail_ms
    return (0.0, 0.0, 0.0) if row.times is None else (row.times.head.median_ms, 0.0, row.times.tail.median_ms)


def _leakage(axes: Any, rows: list[MeasuredCut], found: MeasuredCuts) -> None:
    points = [(place, row.skill) for place, row in enumerate(rows) if row.skill is not None]
    means = [skill.mean for _, skill in points]
    errors = [[max(0.0, s.mean - s.low) for _, s in points], [max(0.0, s.high - s.mean) for _, s in points]]
    axes.errorbar(
        [place for place, _ in points], means, errors, fmt="o", ms=3, lw=1, color=_LEAKAGE, label="undefended cut"
    )
    axes.axhline(found.leakage.answer_skill.mean, color="#777777", lw=1, ls="--", label="the answer alone")
    if found.wanted.max_leakage is not None:
        axes.axhline(found.wanted.max_leakage, color=_LEAKAGE, lw=1, ls=":", label="--max-leakage")
    axes.set(ylabel="skill of A1", title="What the linear inverse rebuilds (0: mean picture, 1: the picture)")
    axes.set_ylim(min(-0.05, *means, 0.0), 1.0)
    axes.legend(fontsize=8)


def _mark(above: Any, below: Any, place: int) -> None:
    for axes in (above, below):
        axes.axvspan(place - 0.5, place + 0.5, color="#1a9850", alpha=0.25, lw=0)
    above.annotate(
        "recommended",
        (place, 1),
        (0, -4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        va="top",
        rotation=90,
        fontsize=8,
    )
