"""When to try again, and when to give up: pure arithmetic over a clock and random numbers that come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Deadline:
    """A moment that a request must not outlive.

    Args:
        timeout_s: seconds from now.
        clock: seconds, rising.
        granted_s: seconds by which the moment was put off since, rising.
    """

    def __init__(
        self, timeout_s: float, clock: Callable[[], float], granted_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._clock, self._granted_s = clock, granted_s
        self._start = clock()
        self._end = self._start + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds until the moment; never negative."""
        return max(0.0, self._end + self._granted_s() - self._clock())

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start


def doubled_s(first_s: float, cap_s: float, times: int) -> float:
    """A pause that doubles with each failure, up to a cap, in seconds."""
    return min(cap_s, first_s * 2.0 ** min(times, 32))


@dataclass
class Backoff:
    """Pauses that double up to a cap, each drawn evenly from its upper half so that clients spread.

    After "Exponential Backoff And Jitter" (Brooker, AWS Architecture Blog, 2015), the "equal jitter" variant: a pause
    is never close to zero, for a worker needs time to come back.

    Attributes:
        first_s: the longest first pause.
        cap_s: the longest of all pauses.
        random: gives numbers evenly from [0, 1).
    """

    random: Callable[[], float]
    first_s: float = 0.05
    cap_s: float = 1.0
    _tries: int = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """The next pause, stretched to what the worker asked for, in seconds."""
        longest_s = doubled_s(self.first_s, self.cap_s, self._tries)
        self._tries += 1
        if at_least_s:
            return at_least_s + longest_s * self.random()
        return longest_s * (1.0 + self.random()) / 2.0
