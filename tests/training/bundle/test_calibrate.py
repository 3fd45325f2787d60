"""Thresholds lie between answers, and calibration never turns them around."""

import numpy as np
import pytest

from securesplit.errors import BundleError

pytest.importorskip("sklearn")
from training.bundle import calibrate
from training.evaluation.calibration import LEAST_SCALE, platt, threshold_for_sensitivity


def test_a_threshold_lies_halfway_between_two_levels():
    logits = np.array([-2.0, -2.0, -1.0, 1.0, 1.0, 3.0], np.float32)
    malignant = np.array([0, 0, 0, 1, 1, 1], bool)
    assert threshold_for_sensitivity(logits, malignant, 0.9) == 0.0
    assert threshold_for_sensitivity(logits, malignant, 0.3) == 2.0


def test_levels_that_hardly_differ_are_called_alike():
    logits = np.array([-2.0, 1.0, 1.0 + 1e-6, 1.0 + 2e-6, 3.0])
    malignant = np.array([0, 0, 1, 1, 1], bool)
    assert threshold_for_sensitivity(logits, malignant, 0.9, least_gap=1e-3) == -0.5
    assert threshold_for_sensitivity(logits, malignant, 0.9) == pytest.approx(1.0 + 0.5e-6, abs=1e-9)
    assert threshold_for_sensitivity(logits[1:], malignant[1:], 0.9, least_gap=1e-3) == 0.0


def test_no_answer_of_another_split_equals_the_threshold():
    logits = {"validation": np.array([-1, -1, 1, 1], np.float32), "test": np.array([-1, 1e-9, 0.5, 1], np.float32)}
    malignant = np.array([0, 1, 1, 1], bool)
    calibration = calibrate.Calibration(1.0, 0.0)
    apart = calibrate.apart(calibration, logits)
    cutoff = threshold_for_sensitivity(logits["validation"], malignant, 0.6, **apart)
    assert cutoff == 0.75


@pytest.mark.parametrize("slope", [LEAST_SCALE, 1.0, 50.0])
def test_where_levels_lie_close_no_answer_lies_at_the_threshold(slope):
    """Also under a slope so flat that different logits are hardly different probabilities."""
    levels = np.array([-0.4, -0.4 + 3e-9, 0.1, 0.1 + 2e-7, 0.1 + 5e-5, 2.0])
    malignant = np.array([0, 0, 0, 1, 1, 1], bool)
    calibration = calibrate.Calibration(slope, 0.0)
    cutoff = threshold_for_sensitivity(levels, malignant, 0.9, least_gap=calibrate.least_gap(calibration))
    calibrate.check_threshold(calibration.probability(cutoff), np.array([calibration.probability(x) for x in levels]))


@pytest.mark.parametrize("seed", range(20))
def test_no_answer_equals_the_threshold_of_the_sensitivity(seed):
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.normal(size=6)).astype(np.float32)
    malignant = rng.integers(0, 2, 300).astype(bool)
    logits = levels[np.clip(rng.integers(0, 6, 300) + malignant, 0, 5)]
    cutoff = threshold_for_sensitivity(logits, malignant, 0.9)
    assert (logits[malignant] >= cutoff).mean() >= 0.9
    assert cutoff not in levels
    calibration = calibrate.Calibration(*platt(logits, malignant))
    calibrate.check_threshold(calibration.probability(cutoff), np.array([calibration.probability(x) for x in levels]))


def test_calling_all_malignant_puts_the_threshold_lowest():
    logits, malignant = np.array([0.5, 1.0], np.float32), np.array([1, 0], bool)
    assert threshold_for_sensitivity(logits, malignant, 0.9) < 0.5


def test_a_threshold_at_an_answer_is_refused():
    with pytest.raises(BundleError, match="lies at the probability") as caught:
        calibrate.check_threshold(0.11321719266075732, np.array([0.02, 0.11321719266075733, 0.4]))
    assert "between two levels" in caught.value.hint


def test_a_slope_that_noise_has_turned_is_not_followed():
    """Fitted to nothing but noise the slope may be negative; a larger logit never means a smaller probability."""
    scale, _ = platt(np.array([0.0, 1.0, 2.0, 3.0], np.float32), np.array([1, 1, 0, 0]))
    assert scale == LEAST_SCALE
