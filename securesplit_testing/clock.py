"""A clock that stands still until a test moves it, and one that is wrong until a test sets it right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo


@dataclass
class Clock:
    """Seconds that rise only where a test adds to them."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class WallClock:
    """A machine's clock, to take the place of the class `datetime` in a module that only asks it what time it is."""

    behind: timedelta

    def now(self, zone: tzinfo) -> datetime:
        return datetime.now(zone) - self.behind
