"""The fuzz targets for as long as wanted: ``python -m benchmarks.fuzz --minutes 30 [--target server] [--seed 7]``.

Each target gets an equal share of the minutes; with ``--inputs 10000000`` each gets its part of `SHARES` of so many
inputs instead, however long that takes. Printed and saved: how many inputs, how many a second, what came of them, the
longest single one, and how much the process grew after the first tenth. A finding is printed with the mutation that
made it, saved under ``build/fuzz``, and makes the exit code 1; the run continues. `benchmarks.fuzz_guided` has atheris
draw the inputs.
"""

from __future__ import annotations

import collections
import gc
import math
import random
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.table import show
from securesplit.worker.resources import resident_bytes
from securesplit_testing.fuzz import targets
from securesplit_testing.fuzz.mutation import Mutation, draw, spell
from training import command

FOUND = Path("build/fuzz")
SHARES = {
    "frames": 0.30,
    "tensors": 0.30,
    "answers": 0.12,
    "junk": 0.25,
    "server": 0.010,
    "client": 0.005,
    "certificates": 0.005,
    "photos": 0.003,
    "metadata": 0.002,
    "texts": 0.005,
}
"""By target, its part of ``--inputs``: what takes microseconds gets most of them."""
HANG_S = 5.0  # an input that takes longer is a finding; the machine may be busy


@dataclass
class Run:
    """What a run of one target has seen.

    Attributes:
        inputs: how many.
        words: what came of them.
        firsts: by what came of them, the first mutation.
        longest_s: the longest single one, in seconds.
        findings: by place and kind, the first mutation that led there.
        base_kib: resident memory after the first tenth of the time.
        grown_kib: how much more at the end.
        spent_s: seconds.
    """

    inputs: int = 0
    words: collections.Counter[str] = field(default_factory=collections.Counter)
    firsts: dict[str, Mutation] = field(default_factory=dict)
    longest_s: float = 0.0
    findings: dict[str, Mutation] = field(default_factory=dict)
    base_kib: int = 0
    grown_kib: int = 0
    spent_s: float = 0.0


def main() -> int:
    """Run every chosen target; the exit code is 1 where one of them found something."""
    parser = command.parser(__doc__)
    parser.add_argument("--minutes", type=command.positive, default=1.0)
    parser.add_argument("--inputs", type=command.whole(1))
    parser.add_argument("--target", choices=targets.NAMES, action="append")
    parser.add_argument("--seed", type=command.whole(0), default=int(time.time()))
    parser.add_argument("--keep", type=Path, help="folder for the first input of each outcome, as in tests/fuzz/corpus")
    chosen = parser.parse_args()
    names = chosen.target or targets.NAMES
    rows: list[list[Any]] = []
    failed, total = False, 0
    print(f"seed {chosen.seed}")
    for name in names:
        bound = Bound(60 * chosen.minutes / len(names))
        if chosen.inputs is not None:
            bound = Bound(inputs=round(chosen.inputs * SHARES[name] / sum(SHARES[n] for n in names)))
        with tempfile.TemporaryDirectory() as folder:
            source = random.Random(chosen.seed)  # noqa: S311 - a run must be repeatable
            run = fuzz(targets.make(name, Path(folder)), bound, source)
        failed, total = failed or bool(run.findings), total + run.inputs
        save(name, run)
        if chosen.keep is not None:
            keep(chosen.keep / name, run)
        words = ", ".join(f"{word} {count:,}" for word, count in run.words.most_common())
        speed, slowest = run.inputs / run.spent_s, 1e3 * run.longest_s
        rows.append([name, f"{run.inputs:,}", speed, slowest, run.grown_kib / 1024, len(run.findings), words])
        print(f"{name}: {run.inputs:,} inputs, {len(run.findings)} findings", flush=True)
    rows.append(["all", f"{total:,}", "", "", "", sum(row[5] for row in rows), ""])
    show("fuzz", ["target", "inputs", "inputs/s", "longest ms", "growth MiB", "findings", "what came of them"], rows)
    return int(failed)


@dataclass(frozen=True)
class Bound:
    """When a run ends: after so many seconds or inputs, whichever is first."""

    seconds: float = math.inf
    inputs: float = math.inf

    def part(self, spent_s: float, inputs: int) -> float:
        """How much of the run is done; 1 at its end."""
        return max(spent_s / self.seconds, inputs / self.inputs)


def fuzz(target: targets.Target, bound: Bound, source: random.Random) -> Run:
    """Hand a target one mutation after the other."""
    run, started = Run(), time.perf_counter()
    before = started
    while (part := bound.part(before - started, run.inputs)) < 1.0:
        mutation = draw(source)
        try:
            word = target(mutation)
            run.words[word] += 1
            run.firsts.setdefault(word, mutation)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            run.findings.setdefault(_place(error), mutation)
        after = time.perf_counter()
        run.longest_s = max(run.longest_s, after - before)
        if after - before > HANG_S:
            run.findings.setdefault("it hung", mutation)
        run.inputs += 1
        before = after
        if not run.base_kib and part > 0.1:
            run.base_kib = _resident_kib()
    run.spent_s = time.perf_counter() - started
    run.grown_kib = _resident_kib() - run.base_kib
    return run


def save(name: str, run: Run) -> None:
    """Print each finding and keep its mutation, as Python that makes it again."""
    for number, (place, mutation) in enumerate(run.findings.items()):
        print(f"FOUND in {name}: {place}\n  {mutation!r}", file=sys.stderr)
        FOUND.mkdir(parents=True, exist_ok=True)
        (FOUND / f"{name}-{number}.txt").write_text(f"{place}\n{mutation!r}\n")


def keep(folder: Path, run: Run) -> None:
    """Write the first input of each outcome, as `securesplit_testing.fuzz.mutation.parse` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    for word, mutation in run.firsts.items():
        (folder / word.replace(" ", "-")).write_bytes(spell(mutation))


def _place(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    return f"{type(error).__name__}: {str(error)[:200]} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _resident_kib() -> int:
    gc.collect()
    return resident_bytes() >> 10


if __name__ == "__main__":
    sys.exit(main())
