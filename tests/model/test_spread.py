"""The interval of an answer: read from the manifest, mixed between measured noises, and never a claim without data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securesplit.device.pipeline import _interval
from securesplit.device.release_step import DELTA, choose_preset
from securesplit.model import Bundle, manifest
from securesplit.model.spread import Spread, parse
from securesplit.results import Accuracy

SPREAD = Spread((-2.0, 0.0, 1.0), (0.0, 0.2, 0.5), (0.1, 0.4, 0.9))


def test_intervals_are_interpolated_and_flat_beyond_the_ends() -> None:
    assert SPREAD.at(-1.0) == pytest.approx((0.1, 0.25))
    assert SPREAD.at(-9.0) == (0.0, 0.1)
    assert SPREAD.at(9.0) == (0.5, 0.9)


def test_a_mixture_lies_between() -> None:
    other = Spread(SPREAD.logits, (0.1, 0.1, 0.1), (1.0, 1.0, 1.0))
    assert SPREAD.mixed(other, 0.0) == SPREAD
    assert SPREAD.mixed(other, 0.5).low == pytest.approx((0.05, 0.15, 0.3))


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"logits": [], "low": [], "high": []},
        {"logits": [0.0], "low": [0.1, 0.2], "high": [0.3]},
        {"logits": [1.0, 0.0], "low": [0.1, 0.1], "high": [0.3, 0.3]},
        {"logits": [0.0], "low": [0.4], "high": [0.3]},
        {"logits": [0.0, 1.0], "low": [0.1, 0.4], "high": [0.3, 0.3]},
        {"logits": [0.0], "low": [-0.1], "high": [0.3]},
        {"logits": [0.0], "low": [0.1], "high": [float("nan")]},
        {"logits": ["0"], "low": [0.1], "high": [0.2]},
        {"logits": list(range(65)), "low": [0.1] * 65, "high": [0.2] * 65},
    ],
)
def test_one_that_makes_no_sense_is_refused(raw: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(raw)
    for known in (SPREAD, Spread((0.0,), (0.3,), (0.3,))):
        assert parse(known.to_json()) == known


def test_a_manifest_keeps_it_and_its_identity() -> None:
    bundle = Bundle.load().manifest
    presets = {
        name: replace(
            p, spread=SPREAD, noise_calibrations=tuple(replace(r, spread=SPREAD) for r in p.noise_calibrations)
        )
        for name, p in bundle.presets.items()
    }
    changed = replace(bundle, presets=presets)
    assert changed.identity == bundle.identity
    assert manifest.parse(changed.to_text().encode()).presets["certified"].spread == SPREAD
    mixed = replace(presets["certified"], spread=replace(SPREAD, logits=(-3.0, 0.0, 1.0)))
    with pytest.raises(Exception, match="different logits"):
        manifest.parse(replace(bundle, presets={**presets, "certified": mixed}).to_text().encode())


def test_the_interval_covers_answer_and_calibration_error() -> None:
    preset = replace(Bundle.load().preset("compact"), spread=SPREAD)
    accuracy = Accuracy(0.9, 0.8, 0.95, 0.9, 0.7, "test", ece=0.02)
    found = _interval(preset, 0.0, 0.5, accuracy)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.18, 0.52))
    assert _interval(preset, 9.0, 0.99, accuracy).high == 1.0  # type: ignore[union-attr]
    assert _interval(preset, 0.0, 0.5, replace(accuracy, ece=None)) is None
    assert _interval(preset, 0.0, 0.5, None) is None
    assert _interval(replace(preset, spread=None), 0.0, 0.5, accuracy) is None


def test_more_noise_widens_the_interval_unmeasured_gives_none() -> None:
    bundle, logit = Bundle.load(), -2.0
    widths = []
    for privacy in ("certified", "40", "8"):
        spread = choose_preset(bundle, privacy).spread
        assert spread is not None
        low, high = spread.at(logit)
        widths.append(high - low)
    assert widths == sorted(widths)
    assert widths[-1] > 0.8, "at epsilon 8 another draw of the noise may give nearly any answer"
    assert replace(bundle.preset("certified"), noise_calibrations=()).with_epsilon(8, DELTA).spread is None
