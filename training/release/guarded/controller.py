"""How hard adversaries may press while the network learns: only as far as the answer does not suffer.

At full weight from the first step they win at once: the encoder answers a constant, every adversary is content, and no
gradient leads back. So the bottleneck first learns with noise alone. What it costs then is the *baseline*, and from
there on the strength of the terms rises while the task stays within `margin` of it, falls when it does not, and is nil
when it is lost: the least leak subject to task ≤ baseline + margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOST = 1.5
"""Times the baseline at which only the task counts."""
BACK_OFF = 3.0
"""How much faster the strength falls than it rises, for as far beside the margin."""


@dataclass
class Controller:
    """The strength of all terms but the task, step by step.

    Args:
        learn: steps with noise alone.
        margin: nats of the task above the baseline that privacy may cost.
        most: greatest strength.
        rise: steps from nothing to `most` where the task does not suffer at all.
        horizon: steps over which the task is averaged.
        steps: that were taken.
        average: of the task, nats.
        baseline: that average when learning with noise alone ended.
        strength: of the terms in the next step.
    """

    learn: int
    margin: float
    most: float = 1.0
    rise: int = 400
    horizon: int = 40
    steps: int = 0
    average: float = 0.0
    baseline: float = math.inf
    strength: float = 0.0

    def update(self, task: float) -> float:
        """The strength for the next step, given the task's loss in this one."""
        self.steps += 1
        self.average += (task - self.average) / min(self.steps, self.horizon)
        if self.steps == self.learn:
            self.baseline = self.average
        if self.steps >= self.learn:
            self._press()
        return self.strength

    def _press(self) -> None:
        room = min(1.0, 1 - (self.average - self.baseline) / self.margin)
        step = self.most / self.rise * (room if room > 0 else BACK_OFF * room)
        lost = self.average > LOST * self.baseline
        self.strength = 0.0 if lost else min(self.most, max(0.0, self.strength + step))
