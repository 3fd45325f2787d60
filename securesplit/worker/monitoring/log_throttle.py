"""Log lines whose number somebody else decides: one a second at most, so that nobody fills the log, or hides in it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

_EVERY_S: Final = 1.0
"""The least time between two lines of a kind."""


class LogThrottle:
    """When a kind of line may be logged again.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last_s = clock, -inf

    def is_due(self) -> bool:
        """Whether to log one now, which then counts."""
        if self._clock() - self._last_s < _EVERY_S:
            return False
        self._last_s = self._clock()
        return True
