"""Answers are read as the noise asks that the device added: with more noise an answer says less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securesplit.model import Bundle, Calibration, Preset, Reading
from securesplit.privacy.release import ReleaseSpec
from securesplit.releaser import DELTA, choose_preset

SPEC = ReleaseSpec("private", (1,), "int16", step=1 / 3, clip_norm=1.0, sigma_per_clip=0.1)
OWN = Preset(
    SPEC,
    Calibration(1.0, 0.0),
    0.1,
    {},
    readings=(Reading(1.0, Calibration(0.5, -1.0), 0.2), Reading(10.0, Calibration(0.1, -1.5), 0.3)),
)


def epsilon_of(sigma_per_clip: float) -> float:
    return replace(SPEC, sigma_per_clip=sigma_per_clip).loss.epsilon(DELTA)


def test_less_noise_than_measured_is_read_as_the_preset_s_own() -> None:
    read = OWN.with_epsilon(2 * epsilon_of(0.1), DELTA)
    assert read.spec.sigma_per_clip < 0.1
    assert (read.calibration, read.threshold) == (OWN.calibration, OWN.threshold)


def test_between_two_measured_noises_the_reading_lies_between() -> None:
    read = OWN.with_epsilon(epsilon_of(10**0.5), DELTA)
    assert read.calibration.scale == pytest.approx(0.3, abs=1e-3)
    assert read.calibration.offset == pytest.approx(-1.25, abs=1e-3)
    assert read.threshold == pytest.approx(0.25, abs=1e-3)


def test_beyond_the_largest_the_largest_counts() -> None:
    read = OWN.with_epsilon(epsilon_of(30.0), DELTA)
    assert read.calibration == OWN.readings[-1].calibration
    assert read.threshold == 0.3


def test_a_bundle_without_readings_keeps_its_own() -> None:
    read = replace(OWN, readings=()).with_epsilon(1.0, DELTA)
    assert read.spec.sigma_per_clip > 1
    assert read.calibration == OWN.calibration


def test_with_the_noise_of_epsilon_1_no_answer_of_the_default_bundle_is_sure() -> None:
    bundle = Bundle.load()
    preset, tail = choose_preset(bundle, "1"), bundle.open_tail()
    sigma = float(preset.spec.sigma_squared) ** 0.5
    releases = np.linspace(-3 * sigma, 3 * sigma, 9).round().astype(np.int16)
    probabilities = [preset.calibration.probability(float(tail("private", r[None, None])[0])) for r in releases]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] > 0.03
    assert probabilities[-1] < 0.6
    own = bundle.preset("private").calibration
    assert own.probability(float(tail("private", releases[-1:, None])[0])) > 0.8  # which is what it would have said


def test_the_more_noise_the_less_an_answer_of_the_default_bundle_says() -> None:
    readings = Bundle.load().preset("private").readings
    scales = [r.calibration.scale for r in readings]
    assert len(scales) >= 5
    assert scales == sorted(scales, reverse=True)
