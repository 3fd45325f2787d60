"""The tables of docs/scaling.md that `benchmarks.capacity` fills, each between ``<!-- NAME -->`` and ``<!-- end -->``.

Figures of a run are kept beside the code, so a test can compute the document from them.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.capacity_model import Demand, Inputs, Plan, PresetCost, plan
from securesplit.text import figures_json, markdown_table

RUN = Path("benchmarks/capacity_inputs.json")
DOCUMENT = Path("docs/scaling.md")
ENCRYPTED = {1: "encrypted", 16: "encrypted, sixteen together"}
"""By how many photos share a ciphertext, a preset's name in `Inputs.presets`."""
STAYING, GOING = Demand(1.0, 100.0, 60.0), Demand(1.0, 1.0, 2.0)
"""Devices that stay and send 100 photos in a minute, and devices that send one and go; at one photo a second."""
PRICE = 0.04
RATES = (10, 1_000, 1_000_000)


@dataclass(frozen=True)
class Check:
    """What the model foretells of a rate, and what was measured.

    Attributes:
        what: runs.
        foretold: photos a second.
        measured: likewise.
        front_us: processor time of the fronts for a photo.
        others: cores that other programs used; None: not measured.
        workers: behind HAProxy; 0: one that is asked directly.
    """

    what: str
    foretold: float
    measured: float
    front_us: float
    others: float | None = None
    workers: int = 0

    @property
    def share(self) -> float:
        """Of what was foretold."""
        return self.measured / self.foretold


@dataclass(frozen=True)
class Capacity:
    """A run of `benchmarks.capacity`.

    Attributes:
        machine: as `benchmarks.performance.machine.describe` has it.
        when: date and time, UTC.
        load: 1-minute load average before it.
        inputs: of the model.
        checks: of the model.
    """

    machine: Mapping[str, Any]
    when: str
    load: float
    inputs: Inputs
    checks: Sequence[Check] = ()


def save(run: Capacity, file: Path) -> None:
    """Keep it, also for another run with `--inputs`."""
    file.write_text(figures_json(run, indent=1) + "\n")


def read(file: Path) -> Capacity:
    """A run that `save` kept."""
    saved = json.loads(file.read_text())
    inputs = saved["inputs"]
    presets = {name: PresetCost(**cost) for name, cost in inputs["presets"].items()}
    checks = [Check(**check) for check in saved["checks"]]
    return Capacity(**saved | {"inputs": Inputs(**inputs | {"presets": presets}), "checks": checks})


def publish(run: Capacity) -> None:
    """Into the checkout: the figures and the document."""
    save(run, RUN)
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8"), run), encoding="utf-8")


def filled(text: str, run: Capacity) -> str:
    """The document with a run's tables.

    Raises:
        ValueError: a table has no place in it.
    """
    for name, form in _TABLES.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not (begin and end):
            raise ValueError(f"no place for the table {name}")
        text = f"{before}{begin}\n{form(run)}\n\n{end}{after}"
    return text


def _measured(run: Capacity) -> str:
    machine = run.machine
    return _wrapped(
        f"Measured {run.when[:16].replace('T', ' ')} UTC on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}; load average {run.load:.1f} before it."
    )


def _presets(run: Capacity) -> str:
    rows = [
        [f"`{name}`", _us(cost.front_us), _us(cost.tail_us), f"{cost.request_bytes:,.0f} / {cost.answer_bytes:,.0f} B"]
        for name, cost in run.inputs.presets.items()
    ]
    return markdown_table(["preset", "front, a photo", "tail, a photo", "request / answer on TCP, a photo"], rows)


def _costs(run: Capacity) -> str:
    found = run.inputs
    connection = f"{found.handshake_us / 1e3:.1f} ms, {found.handshake_bytes:,.0f} B both ways"
    memory = f"{found.front_mb:.0f} MB, {found.tail_mb:.0f} MB, {found.connection_kb:.0f} kB"
    rows = [
        ["a new connection with its handshake, front", connection],
        ["such connections a second, one front, nothing else to do", f"{found.handshakes_per_s:.0f}"],
        ["HAProxy, a photo of `certified`'s size", f"{found.balancer_us:.0f} µs"],
        ["resident memory of a front, of a tail, of the front for a connection with its session", memory],
    ]
    return markdown_table(["what", "figure"], rows)


def _plans(demand: Demand) -> Callable[[Capacity], str]:
    def table(run: Capacity) -> str:
        titles = ["preset", "photos/s", "fronts, bound by", "tails", "cores", "memory", "Mbit/s", "10⁶ photos"]
        return markdown_table(titles, _plan_rows(run.inputs, demand))

    return table


def _plan_rows(inputs: Inputs, demand: Demand) -> Iterator[list[str]]:
    for preset in _sent_by(inputs, demand):
        for number, rate in enumerate(RATES):
            need = plan(inputs, preset, demand.at(rate))
            yield [f"`{preset}`" if number == 0 else "", f"{rate:,}", *_needs(need, rate)]


def _sent_by(inputs: Inputs, demand: Demand) -> list[str]:
    """Presets, those of several photos together left out where a device sends fewer."""
    together = {name: photos for photos, name in ENCRYPTED.items()}
    return [name for name in inputs.presets if together.get(name, 1) <= demand.photos_a_session]


def _needs(need: Plan, rate: float) -> list[str]:
    numbers = need.cores, need.memory_gb, need.mbit_per_s, need.cost_a_million(rate, PRICE)
    cores, memory, network, cost = map(_number, numbers)
    return [f"{need.fronts:,}, {need.bound}", f"{need.tails:,}", cores, f"{memory} GB", network, cost]


def _kept(run: Capacity) -> str:
    """What it saves to keep a connection."""

    def cores(preset: str, demand: Demand) -> float:
        return plan(run.inputs, preset, demand).cores

    shares = [(name, cores(name, STAYING) / cores(name, GOING)) for name in _sent_by(run.inputs, GOING)]
    listed = ", ".join(f"{share:.0%} with `{name}`" for name, share in shares)
    return _wrapped(
        f"Cores that a device needs which keeps its connection, of those of one that sends a photo and goes: {listed}."
    )


def _checks(run: Capacity) -> str:
    rows = [[one.what, f"{one.foretold:,.0f}", f"{one.measured:,.0f}", f"{one.share:.0%}"] for one in run.checks]
    table = markdown_table(["what", "the model says, photos/s", "measured", "of that"], rows)
    scaled = [one for one in run.checks if one.workers]
    one, several = next((each for each in scaled if each.workers == 1), None), [c for c in scaled if c.workers > 1]
    if one is None or not several:
        return table
    shares = [f"{c.workers} workers gave {c.measured / c.workers / one.measured:.0%}" for c in several]
    told = _wrapped(f"Of as many times what one gave in the same run, {' and '.join(shares)}.")
    return f"{table}\n\n{told}"


_TABLES: Mapping[str, Callable[[Capacity], str]] = {
    "capacity: measured": _measured,
    "capacity: presets": _presets,
    "capacity: costs": _costs,
    "capacity: staying": _plans(STAYING),
    "capacity: going": _plans(GOING),
    "capacity: kept": _kept,
    "capacity: checks": _checks,
}


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _us(value: float) -> str:
    return f"{value:,.0f} µs" if value < 10_000 else f"{value / 1e3:,.1f} ms"


def _number(value: float) -> str:
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
