"""Where a probability stands on the page's gauge, whose middle is the threshold.

Probabilities crowd near 0 and thresholds are low (6 % in the shipped bundle): on an even scale all that matters would
lie in a corner. The left half is even; the right one goes by the square root, which leaves room beside the threshold.
The ends and the middle are labelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from securesplit.results import Interval

MIDDLE = 50.0  # percent of the gauge's width


@dataclass(frozen=True)
class Gauge:
    """Positions in percent of the gauge's width.

    Attributes:
        at: of the probability.
        low: of the lower end of its interval; None where there is no interval.
        high: of the upper end.
    """

    at: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, probability: float, threshold: float, interval: Interval | None) -> Gauge:
        """The gauge of one answer."""
        at = place(probability, threshold)
        if interval is None:
            return cls(at)
        return cls(at, place(interval.low, threshold), place(interval.high, threshold))


def place(probability: float, threshold: float) -> float:
    """Position of a probability, 0 to 100.

    >>> place(0.0, 0.06), place(0.03, 0.06), place(0.06, 0.06), place(0.53, 0.06), place(1.0, 0.06)
    (0.0, 25.0, 50.0, 85.36, 100.0)
    """
    if probability < threshold:
        return round(MIDDLE * probability / threshold, 2)
    if threshold >= 1.0:
        return MIDDLE
    return round(MIDDLE + (100.0 - MIDDLE) * math.sqrt((probability - threshold) / (1.0 - threshold)), 2)
