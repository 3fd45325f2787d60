"""Ours beside what a user would pick instead, in one run: photo to answer, served tails, encrypted tails.

    python -m benchmarks.performance [--prepare] [--rounds 3] [--quick] [--only NAME]... [--data FOLDER] [--publish]

All peers get the same photos and weights, each in an environment of its own under ``build/bench/env``, which is made
where it is not there (``--prepare`` does that and no more). Each round starts, asks and ends one peer after the other,
so that what the machine does besides falls on all alike. Results are ``build/bench/performance.json``, ``.png`` and
``.md``. Ratios to the reference peers are compared with those of the last published run; one that got worse makes the
exit code 1, and so does a row of ours that could not be measured. ``--publish`` writes the page of the documents where
nothing got worse; ``--kept --publish --accept "why"`` publishes the last run all the same, and says what got worse.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers.peer import Inputs
from benchmarks.peers.registry import PEERS, REFERENCES, Peer
from benchmarks.performance import comparing, inputs, machine, page, plot
from benchmarks.performance.environments import Environment, NotInstalledError
from benchmarks.performance.programs import PeerError
from benchmarks.performance.results import Row, Run, load, save
from benchmarks.performance.rounds import Effort, Measured, measure, percentiles, tasks
from securesplit.model import Bundle
from training import command

FOLDER = Path("build/bench")
PUBLISHED = Path("benchmarks/performance.json")
"""The last run that the documents show."""
DOCUMENT, PICTURE = Path("docs/performance.md"), Path("docs/performance.png")
NO_PRESET = "the bundle has no preset"
FULL, QUICK = Effort(questions=30, seconds=1.0), Effort(questions=2, seconds=0.1, clients=(8,))
MEANINGS = {"photo": "", "inception": "", "encrypted": "", "tail": "handshakes not counted"}
"""By task, `Row.meaning`."""


class Collected:
    """Rows of one peer while its rounds go on.

    Args:
        peer: which.
        inputs: of all peers.
        is_quick: in this interpreter instead of an environment of its own.
        missing: why it cannot be measured; empty where it can.
    """

    def __init__(self, peer: Peer, inputs: Inputs, *, is_quick: bool, missing: str) -> None:
        self.peer, self.missing = peer, missing
        self._inputs, self._is_quick = inputs, is_quick
        self._environment = Environment(peer.environment, peer.requirements)
        self._rounds: list[dict[str, Measured]] = []

    def install(self) -> None:
        """Make its environment, so that no round waits for that."""
        if self._is_quick or self.missing:
            return
        try:
            self._environment.install()
        except NotInstalledError as error:
            self.missing = f"not installed: {error}"

    def round(self, effort: Effort) -> None:
        """Measure once more; a peer that fails is left out from then on."""
        if self.missing or len(self._rounds) == self.peer.rounds:
            return
        python = None if self._is_quick else self._environment.python
        try:
            self._rounds.append(measure(self.peer, python, self._inputs, effort))
        except PeerError as error:
            self.missing = str(error)

    def rows(self) -> list[Row]:
        """One for each task; without figures where something is missing."""
        facts = {} if self._is_quick or self.missing else self._environment.facts
        return [self._row(task, facts) for task in tasks(self.peer)]

    def _row(self, task: str, facts: dict[str, object]) -> Row:
        peer = self.peer
        row = Row(peer.name, task, peer.protection, peer.is_ours, missing=self.missing, meaning=MEANINGS[peer.task])
        if self.missing:
            return row
        rounds = [found[task] for found in self._rounds]
        latency = percentiles([ms for measured in rounds for ms in measured.milliseconds])
        return replace(row, rounds=[measured.figures for measured in rounds], latency=latency, facts=facts)


def collect(peers: Sequence[Peer], given: Inputs, *, is_quick: bool) -> list[Collected]:
    """Their rows before the first round, and their environments."""
    collected = []
    for peer in peers:
        is_there = not peer.preset or peer.preset in Bundle.load(peer.bundle).presets
        missing = "" if is_there else f"{NO_PRESET} {peer.preset}"
        collected.append(Collected(peer, given, is_quick=is_quick, missing=missing))
        collected[-1].install()
    return collected


def run(peers: Sequence[Peer], given: Inputs, rounds: int, effort: Effort, *, is_quick: bool) -> Run:
    """Measure them in turn, round by round."""
    collected = collect(peers, given, is_quick=is_quick)
    loads: list[float] = []
    start_s = time.monotonic()
    for number in range(rounds):
        loads.append(os.getloadavg()[0])
        for one in collected:
            one.round(effort)
            took_s = time.monotonic() - start_s
            print(f"{took_s:5.0f} s, round {number + 1} of {rounds}: {one.peer.name} {one.missing}", flush=True)
        save(_run_so_far(collected, loads, took_s), FOLDER / "performance.json")
    return _run_so_far(collected, loads, time.monotonic() - start_s)


def _run_so_far(collected: Sequence[Collected], loads: Sequence[float], took_s: float) -> Run:
    rows = [row for one in collected for row in one.rows()]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Run(machine.describe(), when, list(loads), rows, REFERENCES, round(took_s, 1))


def judge(before: Run | None, now: Run) -> list[str]:
    """What is wrong with a run, a line each; empty where it may be published."""
    return lacking(now) + regressions(before, now)


def lacking(now: Run) -> list[str]:
    """Rows of ours that could not be measured."""
    return [
        f"{row.name} ({row.task}): {row.missing}"
        for row in now.rows
        if row.is_ours and row.missing and not row.missing.startswith(NO_PRESET)
    ]


def regressions(before: Run | None, now: Run) -> list[str]:
    """Figures that got worse."""
    if before is None or not machine.is_same(dict(before.machine), dict(now.machine)):
        return []
    return [str(change) for change in comparing.changes(before, now) if change.is_regression]


def publish(now: Run) -> None:
    """Into the checkout: the page, its picture, and the figures that the next run is compared with."""
    save(now, PUBLISHED)
    shutil.copyfile(FOLDER / "performance.png", PICTURE)
    DOCUMENT.write_text(page.document(now))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument("--rounds", type=command.whole(1), default=3)
    parser.add_argument("--prepare", action="store_true", help="make inputs and environments, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="few peers without environments of their own, in seconds")
    parser.add_argument("--only", action="append", help="a peer's name; once for each, none stands for all")
    parser.add_argument("--data", type=Path, help="a folder of JPEG photos instead of synthetic lesions")
    parser.add_argument("--kept", action="store_true", help="the last run as it was kept, instead of another")
    parser.add_argument("--accept", metavar="WHY", help="publish what got worse, with the reason")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md where nothing got worse")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, compare; the exit code."""
    chosen = _parser().parse_args(arguments)
    peers = [peer for peer in PEERS if peer.is_quick or not chosen.quick]
    if not chosen.kept and (unknown := {*(chosen.only or ())} - {peer.name for peer in peers}):
        names = "\n".join(sorted({peer.name for peer in peers}))
        sys.exit(f"error: no such peer: {'; '.join(sorted(unknown))}\nhint: choose of\n{names}")
    peers = [peer for peer in peers if not chosen.only or peer.name in chosen.only]
    photos = inputs.QUICK_PHOTOS if chosen.quick else inputs.PHOTOS
    folder = FOLDER / ("inputs-quick" if chosen.quick else "inputs")
    given = inputs.prepare(folder, Bundle.load(), chosen.data, photos=photos, networks=not chosen.quick)
    if chosen.prepare:
        print("\n".join(f"{one.peer.name}: {one.missing or 'ready'}" for one in collect(peers, given, is_quick=False)))
        return 0
    effort, published = QUICK if chosen.quick else FULL, load(PUBLISHED)
    if published and published.took_s and not chosen.only:
        each_s = published.took_s / len(published.load)
        print(f"{chosen.rounds} rounds, {chosen.rounds * each_s / 60:.0f} minutes by the last run", flush=True)
    kept = load(FOLDER / "performance.json") if chosen.kept else None
    now = kept or run(peers, given, 1 if chosen.quick else chosen.rounds, effort, is_quick=chosen.quick)
    if chosen.accept:
        now = replace(now, accepted=regressions(published, now), because=chosen.accept)
    (FOLDER / "performance.md").write_text(page.document(now))
    if not chosen.quick:
        plot.draw(now, FOLDER / "performance.png")
    print(page.tables(now))
    problems = lacking(now) if chosen.accept else judge(published, now)
    print("\n".join(problems) or "nothing of ours got worse")
    if chosen.publish and not problems:
        publish(now)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
