"""The time of an audit: what its preparation may take, and shares for the attacks without a natural end.

A search or a training that was stopped early has not failed to recover a photo; it has not been tried. So its result
says that it was cut short, and `securesplit.audit.goals` calls nothing met on its word. The same is true of whoever
goes on from what it left, however much time there is for that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from securesplit.audit.setting import ShouldContinue
from securesplit.text import seconds_text

READING, RUNNING, REPORT = (0.2, 0.4), 0.3, 0.05
"""Shares of an audit's time: until when auxiliary photos and targets are read, for running them through the halves,
and for the report at the end."""
MAX_REPORT_S = 15.0


def for_steps(minutes: float, preparation_s: float) -> float:
    """Seconds that the steps of an audit have together."""
    return 60 * minutes - preparation_s - min(MAX_REPORT_S, 60 * minutes * REPORT)


def until(end_s: float, clock: Callable[[], float] = time.monotonic) -> ShouldContinue:
    """Whether there is time for more before that moment."""
    return lambda: clock() < end_s


@dataclass
class Noted:
    """`ShouldContinue` that notes whether it ever said no.

    Args:
        asked: what answers.
    """

    asked: ShouldContinue
    refused: bool = field(default=False, init=False)

    def __call__(self) -> bool:
        """Whether there is time for more."""
        self.refused = self.refused or not self.asked()
        return not self.refused


@dataclass
class TimeBudget:
    """The seconds that one step may take.

    Args:
        seconds: from now.
        clock: in seconds.
    """

    seconds: float = math.inf
    clock: Callable[[], float] = time.monotonic
    cut_short: bool = field(default=False, init=False)
    """Whether anybody asked for more time than there was."""
    began_with: str = field(default="", init=False)
    """An attack that ran out of time and whose result this one goes on from; empty where there is none."""

    def __post_init__(self) -> None:
        self._end = self.clock() + self.seconds

    @property
    def shortage(self) -> str:
        """After how long the step was cut short, or with which attack; empty where neither was."""
        if self.cut_short:
            return f"after {seconds_text(self.seconds)} s"
        return f"with {self.began_with}" if self.began_with else ""

    def part(self, parts: int) -> ShouldContinue:
        """The first of `parts` equal parts of the time that is left."""
        now = self.clock()
        end = now + (self._end - now) / parts

        def should_continue() -> bool:
            if self.clock() < end:
                return True
            self.cut_short = True
            return False

        return should_continue


def share(left_s: float, weight: float, weights: float) -> float:
    """Seconds for a step of that weight where all that are left weigh `weights`; never negative.

    >>> share(600.0, 2.0, 6.0)
    200.0
    """
    return max(0.0, left_s) * weight / weights
