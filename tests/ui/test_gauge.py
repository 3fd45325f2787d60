"""Where a probability stands on the gauge."""

from __future__ import annotations

import doctest
import itertools
import re
from importlib import resources

from securesplit.results import Interval
from securesplit.ui import gauge, requests
from securesplit.ui.gauge import MIDDLE, Gauge, place


def test_examples() -> None:
    for module in (gauge, requests):
        found = doctest.testmod(module)
        assert found.attempted
        assert not found.failed


def test_its_colours_are_known_to_older_browsers() -> None:
    """A browser paints black what it cannot read of a picture's colour, and then both sides of the threshold are."""
    style = resources.files("securesplit.ui").joinpath("static", "page.css").read_text(encoding="utf-8")
    assert ".gauge .left" in style
    assert not re.findall(r"\b(?:color-mix|light-dark|oklch|color)\(", style)


def test_positions_rise_with_the_probability() -> None:
    for threshold in (1e-3, 0.0629, 0.5, 0.999, 1.0):
        places = [place(n / 200, threshold) for n in range(201)]
        assert all(0.0 <= at <= 100.0 for at in places)
        assert all(low <= high for low, high in itertools.pairwise(places))
        assert place(threshold, threshold) == MIDDLE
    assert place(0.5, 0.0) > MIDDLE


def test_the_interval_holds_the_probability() -> None:
    drawn = Gauge.of(0.113, 0.063, Interval(0.05, 0.161))
    assert drawn.low is not None
    assert drawn.high is not None
    assert drawn.low < MIDDLE < drawn.at < drawn.high
    assert Gauge.of(0.1, 0.2, None).low is None
