"""Between what an answer lies with 95 %, for all that noise and calibration leave open.

A `Spread` is measured, not assumed (`training.evaluation.calibration`): for some answers of the tail, the middle 95 %
of what the probability would be without the noise and with a calibration that was fitted on other photos of the same
kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from securesplit.model import fields

MAX_KNOTS = 64
MAX_LOGIT = 1e4


@dataclass(frozen=True)
class Spread:
    """Ends of the interval at some logits of the tail, ``(n,)`` each; linear between them, level beyond.

    Attributes:
        logits: rising.
        low: lower end, a probability of malignant.
        high: upper end.
    """

    logits: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def at(self, logit: float) -> tuple[float, float]:
        """Both ends for an answer of the tail."""
        low, high = (float(np.interp(logit, self.logits, ends)) for ends in (self.low, self.high))
        return low, high

    def mixed(self, other: Spread, part: float) -> Spread:
        """So much of the way from this one to another, which must be measured at the same logits."""
        return Spread(self.logits, _mixed(self.low, other.low, part), _mixed(self.high, other.high, part))

    def to_json(self) -> dict[str, list[float]]:
        """As `parse` reads it."""
        return {"logits": list(self.logits), "low": list(self.low), "high": list(self.high)}


def parse(raw: Mapping[str, Any]) -> Spread:
    """Read a spread of a manifest.

    Raises:
        ValueError: a field is missing, or the figures make no sense.
    """
    logits = _numbers(raw, "logits", -MAX_LOGIT, MAX_LOGIT)
    low, high = (_numbers(raw, end, 0.0, 1.0) for end in ("low", "high"))
    if not logits or not len(logits) == len(low) == len(high):
        raise ValueError("a spread has not one low and one high for each logit")
    if any(later <= earlier for earlier, later in itertools.pairwise(logits)):
        raise ValueError("the logits of a spread do not rise")
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise ValueError("an interval of a spread ends before it begins")
    return Spread(logits, low, high)


def _numbers(raw: Mapping[str, Any], key: str, least: float, most: float) -> tuple[float, ...]:
    values = fields.items(raw, key, most=MAX_KNOTS)
    return tuple(fields.number({key: value}, key, least, most) for value in values)


def _mixed(ours: Sequence[float], theirs: Sequence[float], part: float) -> tuple[float, ...]:
    return tuple(a + part * (b - a) for a, b in zip(ours, theirs, strict=True))
