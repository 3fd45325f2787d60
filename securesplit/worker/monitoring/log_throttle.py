"""Log lines whose number somebody else decides, not too often, so that nobody fills the log, or hides in it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf


class LogThrottle:
    """When a kind of line may be logged again.

    Args:
        clock: seconds, rising.
        every_s: the least time between two lines.
    """

    def __init__(self, clock: Callable[[], float], every_s: float = 1.0) -> None:
        self._clock, self._every_s, self._last_s = clock, every_s, -inf

    def is_due(self) -> bool:
        """Whether to log one now, which then counts."""
        if self._clock() - self._last_s < self._every_s:
            return False
        self._last_s = self._clock()
        return True
