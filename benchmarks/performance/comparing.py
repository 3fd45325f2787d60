"""Is ours slower than in the last run? Ratios to the reference peer of the same run are compared, not times.

Both sides of a ratio are measured in one round, so what the machine does besides falls on both. Each round gives one
ratio; their spread is the noise. A figure has regressed where its ratio got worse by more than `ALLOWED` and by more
than `SURE` standard errors of the difference. One round says nothing of noise, so nothing is judged by it. Bytes depend
on no machine and are compared as they are. Rows whose `Row.meaning` is not what it was in the last run are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, stdev

from benchmarks.performance.results import EXACT, HIGHER_IS_BETTER, JUDGED, Row, Run

ALLOWED = 0.10
SURE = 2.0


@dataclass(frozen=True)
class Ratio:
    """Ours over the reference, by rounds.

    Attributes:
        log: mean of the logarithms; a rise is a change for the worse, whatever the figure.
        error: its standard error; infinite for one round.
    """

    log: float
    error: float

    @property
    def times(self) -> float:
        """How many times the reference; of a rate, how many times slower."""
        return math.exp(self.log)


@dataclass(frozen=True)
class Change:
    """One figure against the last run.

    Attributes:
        row: ours.
        figure: its name.
        before: ratio of the last run.
        now: of this one.
    """

    row: Row
    figure: str
    before: Ratio
    now: Ratio

    @property
    def worse(self) -> float:
        """By what share the ratio got worse; negative: better."""
        return math.exp(self.now.log - self.before.log) - 1

    @property
    def noise(self) -> float:
        """The share that chance alone explains."""
        errors = SURE * math.hypot(self.now.error, self.before.error)
        return math.expm1(errors) if errors < 20 else math.inf

    @property
    def is_regression(self) -> bool:
        """Worse than is allowed, and not by chance."""
        return self.worse > max(ALLOWED, self.noise)

    def __str__(self) -> str:
        """For people: what got worse."""
        ratios = f"{self.before.times:.3g} -> {self.now.times:.3g} times the reference"
        return f"{self.row.name} ({self.row.task}): {self.figure} {self.worse:+.0%} ({ratios}, noise {self.noise:.0%})"


def ratio(row: Row, reference: Row, figure: str) -> Ratio | None:
    """Of one figure; None where one side does not have it."""
    pairs = zip(row.rounds, reference.rounds, strict=False)
    logs = [
        math.log(ours[figure] / theirs[figure])
        for ours, theirs in pairs
        if ours.get(figure, 0) > 0 and theirs.get(figure, 0) > 0
    ]
    if not logs:
        return None
    sign = -1.0 if figure in HIGHER_IS_BETTER else 1.0
    return Ratio(sign * mean(logs), stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf)


def changes(before: Run, now: Run) -> Iterator[Change]:
    """Every judged figure that both runs have, of rows that mean the same in both."""
    for row in now.rows:
        earlier = before.row(row.task, row.name)
        if not (row.is_ours and earlier and earlier.meaning == row.meaning):
            continue
        for figure in JUDGED:
            found, known = _ratio_in(now, row, figure), _ratio_in(before, earlier, figure)
            if found and known:
                yield Change(row, figure, known, found)


def _ratio_in(run: Run, row: Row, figure: str) -> Ratio | None:
    if figure in EXACT:
        found = row.figure(figure)
        return Ratio(math.log(found), 0.0) if found else None
    reference = run.reference(row.task)
    return ratio(row, reference, figure) if reference else None
