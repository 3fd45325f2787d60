"""Answers are read as the noise asks that the device added: with more noise an answer says less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securesplit.device.release_step import DELTA, choose_preset
from securesplit.model import Bundle, Calibration, NoiseCalibration, Preset, preset_json
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import Accuracy

SPEC = ReleaseSpec("certified", (1,), "int16", step=1 / 3, clip_norm=1.0, sigma_per_clip=0.1)


def measured(auc: float) -> dict[str, dict[str, float]]:
    return {"test": {"auc": auc, "auc_low": auc - 0.02, "auc_high": auc + 0.02, "sensitivity": auc, "specificity": 0.4}}


OWN = Preset(
    SPEC,
    Calibration(1.0, 0.0),
    0.1,
    {**measured(0.9), "parity": {"max_difference": 1e-6}},
    noise_calibrations=(
        NoiseCalibration(1.0, Calibration(0.5, -1.0), 0.2, measured(0.7)),
        NoiseCalibration(10.0, Calibration(0.1, -1.5), 0.3, measured(0.5)),
    ),
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
    assert read.accuracy == Accuracy(0.6, 0.58, 0.62, 0.6, 0.4, "test")


def test_answers_that_were_counted_are_read_by_their_own_shares() -> None:
    """Linear between them, parallel to the line beyond, which is also what an earlier version reads."""
    found = Calibration(1.0, 0.0, ((-2.0, -1.0), (0.0, -0.5), (1.0, 3.0)))
    assert found.log_odds(np.array([-9.0, -2.0, -1.0, 0.0, 0.5, 1.0, 9.0])) == pytest.approx(
        [-8, -1, -0.75, -0.5, 1.25, 3, 11]
    )
    assert found.probability(0.0) == pytest.approx(1 / (1 + np.exp(0.5)))
    written = preset_json.to_json(replace(OWN, calibration=found))
    assert written["calibration"]["scale"] == 1.0
    assert preset_json.parse("certified", written).calibration == found


def test_between_counted_answers_and_a_line_the_reading_lies_between() -> None:
    counted = Calibration(1.0, 0.0, ((-2.0, -1.0), (1.0, 3.0)))
    read = replace(OWN, calibration=counted).with_epsilon(epsilon_of(10**-0.5), DELTA)
    line = OWN.noise_calibrations[0].calibration
    for logit in (-2.0, 0.0, 1.0):
        half = (counted.log_odds(logit) + line.log_odds(logit)) / 2
        assert read.calibration.log_odds(logit) == pytest.approx(half, abs=1e-3)


def test_beyond_the_largest_the_largest_counts() -> None:
    read = OWN.with_epsilon(epsilon_of(30.0), DELTA)
    assert read.calibration == OWN.noise_calibrations[-1].calibration
    assert read.threshold == 0.3


@pytest.mark.parametrize(("auc", "said"), [(0.8, False), (0.54, True)])
def test_beyond_the_largest_only_chance_is_known(auc: float, said: bool) -> None:
    """What was measured with less noise says nothing of more, unless that was chance already."""
    last = replace(OWN.noise_calibrations[-1], quality={"test": {"auc": auc}})
    read = replace(OWN, noise_calibrations=(*OWN.noise_calibrations[:-1], last)).with_epsilon(epsilon_of(30.0), DELTA)
    assert (read.accuracy is not None and read.accuracy.is_chance) == said
    assert read.accuracy is None or said


def test_a_bundle_without_readings_keeps_its_own() -> None:
    read = replace(OWN, noise_calibrations=()).with_epsilon(1.0, DELTA)
    assert read.spec.sigma_per_clip > 1
    assert read.calibration == OWN.calibration
    assert read.accuracy is None, "what was measured with less noise says nothing of more"


def test_a_bundle_that_measured_no_interval_is_judged_by_its_auc() -> None:
    for auc, is_chance in ((0.54, True), (0.9, False)):
        accuracy = replace(OWN, quality={"validation": {"auc": auc}}).accuracy
        assert accuracy == Accuracy(auc, None, None, None, None, "validation")
        assert accuracy.is_chance == is_chance
    assert replace(OWN, quality={"parity": {}}).accuracy is None


@pytest.mark.parametrize(("epsilon", "auc"), [(4, 0.635), (8, 0.718), (16, 0.810)])
def test_what_an_epsilon_of_the_default_bundle_is_worth(epsilon: float, auc: float) -> None:
    """Held-out AUC with each photo's noise drawn 64 times; the manifest's sixteen draws leave 0.003 to chance."""
    preset = choose_preset(Bundle.load(), epsilon)
    assert preset.accuracy is not None
    assert preset.accuracy.auc == pytest.approx(auc, abs=0.01)
    assert preset.accuracy.measured_on == "test"
    assert not preset.accuracy.is_chance


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1])
def test_an_epsilon_that_leaves_nothing_is_called_chance(epsilon: float) -> None:
    preset = choose_preset(Bundle.load(), epsilon)
    assert preset.accuracy is not None
    assert preset.accuracy.is_chance


def test_no_threshold_of_the_default_bundle_lies_at_an_answer() -> None:
    """A release of few levels has few answers; none of them may hang on the last bit of a comparison."""
    bundle = Bundle.load()
    preset, tail = bundle.preset("certified"), bundle.open_tail()
    lowest, highest = preset.spec.levels or (0, 0)
    logits = [float(tail("certified", np.array([[y]], np.int16))[0]) for y in range(lowest - 100, highest + 101)]
    own = NoiseCalibration(preset.spec.sigma_per_clip, preset.calibration, preset.threshold)
    for read in (own, *preset.noise_calibrations):
        distances = [abs(read.calibration.probability(logit) - read.threshold) for logit in logits]
        assert min(distances) > 1e-6, read.sigma_per_clip
    assert min(abs(preset.calibration.probability(x) - preset.threshold) for x in logits) > 0.02


def test_at_epsilon_1_no_default_answer_is_certain() -> None:
    bundle = Bundle.load()
    preset, tail = choose_preset(bundle, "1"), bundle.open_tail()
    sigma = float(preset.spec.sigma_squared) ** 0.5
    releases = np.linspace(-3 * sigma, 3 * sigma, 9).round().astype(np.int16)
    probabilities = [preset.calibration.probability(float(tail("certified", r[None, None])[0])) for r in releases]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] > 0.03
    assert probabilities[-1] < 0.6
    own = bundle.preset("certified").calibration
    assert own.probability(float(tail("certified", releases[-1:, None])[0])) > 0.8  # which is what it would have said


def test_more_noise_makes_default_answers_less_certain() -> None:
    preset = Bundle.load().preset("certified")
    read = [(preset.read_by(r).accuracy, r.calibration.scale) for r in preset.noise_calibrations]
    scales = [scale for accuracy, scale in read if accuracy and not accuracy.is_chance]  # the slope of chance is chance
    assert len(scales) >= 5
    assert scales == sorted(scales, reverse=True)
