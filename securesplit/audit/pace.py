"""Time for the attacks that could go on for ever: each gets a share, and whatever stops early says so.

A search or a training that was stopped early has not failed to recover a photo; it has not been tried. So its result
says that it was cut short, and `securesplit.audit.goals` calls nothing met on its word.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from securesplit.privacy.attacks.setting import More


@dataclass
class Allowance:
    """The seconds that one step may take.

    Args:
        seconds: from now.
        clock: in seconds.
    """

    seconds: float = math.inf
    clock: Callable[[], float] = time.monotonic
    cut_short: bool = field(default=False, init=False)
    """Whether anybody asked for more time than there was."""

    def __post_init__(self) -> None:
        self._end = self.clock() + self.seconds

    def part(self, parts: int) -> More:
        """The first of `parts` equal parts of the time that is left."""
        now = self.clock()
        end = now + (self._end - now) / parts

        def more() -> bool:
            if self.clock() < end:
                return True
            self.cut_short = True
            return False

        return more


def share(left_s: float, weight: float, weights: float) -> float:
    """Seconds for a step of that weight where all that are left weigh `weights`; never negative.

    >>> share(600.0, 2.0, 6.0)
    200.0
    """
    return max(0.0, left_s) * weight / weights
