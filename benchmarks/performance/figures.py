"""Figures that are wanted of ours beside those of its peers, and what a run has of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.peers.registry import PHOTO_REFERENCE, STUDENT, TAIL_REFERENCE, TENSORFLOW_FUNCTION
from benchmarks.performance.comparing import ratio
from benchmarks.performance.results import Row, Run

OURS = "securesplit"
_FASTEST_OF = (PHOTO_REFERENCE, "ONNX Runtime, whole network")
_MORE_MS, _MORE = 1.0, 1.05
_CLIENTS = (8, 64)
_SERVED = {"tail certified": 2.0, "tail none": 1.5}
"""By task, how many times the requests a second and core of the best other server are wanted."""
_P99_TIMES = 0.5
_FRONT_PER_S = 3_000
_STUDENTS_BYTES = 1 / 150
_ENCRYPTED = {"securesplit, one photo a request": 100.0, "securesplit, sixteen photos a request": 15.0}
"""By row, milliseconds of a core a photo."""


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        what: is measured.
        wanted: as text.
        had: as text.
        is_reached: whether it is what is wanted.
    """

    what: str
    wanted: str
    had: str
    is_reached: bool


def figures(run: Run) -> Iterator[Figure]:
    """All that the rows of a run say something of."""
    for task, network in (("photo", "default network"), ("inception", "InceptionResNetV2")):
        for preset in ("none", "guarded", "compact"):
            if (ours := run.measured(task, f"{OURS}, {preset}")) is not None:
                yield from _whole(run, ours, f"{network}, `{preset}`")
    for task, times in _SERVED.items():
        yield from _served(run, task, times)
    if (front := run.measured("tail certified", OURS)) is not None:
        rate = front.figure("per_core_64") or 0.0
        what = "front and tail, `certified`, 64 clients, requests/s a core"
        yield Figure(what, f"≥ {_FRONT_PER_S:,}", f"{rate:,.0f}", rate >= _FRONT_PER_S)
    yield from _bytes(run)
    for name, most in _ENCRYPTED.items():
        if (row := run.measured("tail encrypted", name)) is not None:
            what = f"`encrypted`, {name.partition(', ')[2]}: worker's milliseconds of a core a photo"
            yield _at_most(what, row.figure("cpu_ms"), most, "{:.3g}")


def _whole(run: Run, ours: Row, what: str) -> Iterator[Figure]:
    """Against the unsplit network."""
    function = run.measured(ours.task, TENSORFLOW_FUNCTION)
    if function is not None and (found := ratio(ours, function, "p50_ms")) is not None:
        yield _at_most(f"{what}, p50 against its TensorFlow function", found.times, 0.5, "{:.2f} ×")
    medians = [row.figure("p50_ms") for name in _FASTEST_OF if (row := run.measured(ours.task, name)) is not None]
    if known := [median for median in medians if median is not None]:
        most = _MORE * min(known) + _MORE_MS
        what = f"{what}, p50 against the fastest unsplit ({min(known):.3g} ms), 1.05 × and 1 ms"
        yield _at_most(what, ours.figure("p50_ms"), most, "{:.3g} ms")


def _served(run: Run, task: str, times: float) -> Iterator[Figure]:
    """Against the best of the servers that one would deploy, whichever it is for each figure."""
    ours = run.measured(task, OURS)
    others = [row for row in run.rows if row.task == task and row.rounds and not row.is_ours]
    others = [row for row in others if row.name != TAIL_REFERENCE]
    if ours is None or not others:
        return
    about = f"tail of `{task.partition(' ')[2]}`"
    for clients in _CLIENTS:
        best, their = _best(others, f"per_core_{clients}", max)
        found = (ours.figure(f"per_core_{clients}") or 0.0) / their
        what = f"{about}, {clients} clients, requests/s a core against {best}"
        yield Figure(what, f"≥ {times:g} ×", f"{found:.2f} ×", found >= times)
    best, their = _best(others, "p99_ms", min)
    yield _at_most(f"{about}, p99 against {best}", (ours.figure("p99_ms") or 0.0) / their, _P99_TIMES, "{:.2f} ×")


def _best(rows: list[Row], figure: str, choose: Callable[..., tuple[float, str]]) -> tuple[str, float]:
    value, name = choose((found, row.name) for row in rows if (found := row.figure(figure)) is not None)
    return name, value


def _bytes(run: Run) -> Iterator[Figure]:
    student = run.measured("photo", STUDENT)
    theirs = student.figure("request_bytes") if student is not None else None
    for preset in ("guarded", "certified"):
        ours = run.measured("photo", f"{OURS}, {preset}")
        sent = ours.figure("request_bytes") if ours is not None else None
        if theirs and sent:
            what = f"`{preset}`, bytes of a request against the student project's"
            yield Figure(what, "≤ 1/150", f"1/{theirs / sent:.0f}", sent <= theirs * _STUDENTS_BYTES)


def _at_most(what: str, had: float | None, most: float, form: str) -> Figure:
    value = had or 0.0
    return Figure(what, "≤ " + form.format(most), form.format(value), value <= most)
