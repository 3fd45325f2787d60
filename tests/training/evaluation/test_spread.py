"""The interval of answers is wide where answers are noisy or calibrations differ, and narrow where neither is so."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
from securesplit.model import Calibration
from training.evaluation import calibration as spreads
from training.evaluation.calibration import NoiseFree


@pytest.fixture(autouse=True)
def _few_refits(monkeypatch):
    monkeypatch.setattr(spreads, "REFITS", 16)


def photos(n, seed=0):
    """Logits that are calibrated: the label follows them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, n).round(1).astype(np.float32)
    return logits, rng.random(n) < 1 / (1 + np.exp(-logits)), [f"lesion {i // 2}" for i in range(n)]


def width(spread, logit=-1.0):
    low, high = spread.at(logit)
    return high - low


def test_more_photos_leave_a_narrower_interval_around_the_truth():
    spreads_ = [NoiseFree.measure(*photos(n)).spread(photos(n)[0]) for n in (100, 1600)]
    assert width(spreads_[0]) > 2 * width(spreads_[1]) > 0
    low, high = spreads_[1].at(-1.0)
    assert low < 1 / (1 + np.exp(1.0)) < high
    assert len(spreads_[1].logits) == spreads.KNOTS


def test_three_photos_of_each_lesion_leave_it_as_wide_as_one():
    logits, malignant, lesions = photos(200)
    thrice = np.tile(logits, 3), np.tile(malignant, 3), lesions * 3
    once = width(NoiseFree.measure(logits, malignant, lesions).spread(logits))
    assert width(NoiseFree.measure(*thrice).spread(thrice[0])) == pytest.approx(once, rel=0.1)


def test_it_holds_the_middle_95_percent():
    fits = [Calibration(1.0, offset) for offset in np.linspace(-1.0, 1.0, 41)]
    found = NoiseFree(np.zeros(1), np.zeros(1), fits).spread(np.zeros(1))
    assert found.at(0.0) == pytest.approx((1 / (1 + np.exp(0.95)), 1 / (1 + np.exp(-0.95))), abs=1e-6)


def test_where_few_answers_lie_the_nearest_ones_count_too():
    clean, noise = np.array([-3.0] * 30 + [3.0]), np.array([0.1, -0.1] * 15 + [0.1])
    found = NoiseFree(clean, np.array([-3.0, 3.0]), [Calibration(1.0, 0.0)]).spread(clean + noise)
    low, high = found.at(3.0)
    assert low < 0.1 < high, "one photo alone would say nothing of what noise does"


def test_noise_widens_it_to_what_the_answers_would_be_without():
    logits, malignant, lesions = photos(800)
    measured = NoiseFree.measure(logits, malignant, lesions)
    rng = np.random.default_rng(1)
    noisy = [np.tile(logits, 4) + rng.normal(0, sigma, 3200).astype(np.float32) for sigma in (0.5, 2.0)]
    widths = [width(measured.spread(found)) for found in (logits, *noisy)]
    assert widths == sorted(widths)
    assert widths[2] > 2 * widths[1] > 2 * widths[0]


def test_few_levels_are_measured_each_and_rare_ones_pooled():
    logits = np.repeat(np.array([-3.0, 0.0, 2.0], np.float32), [200, 200, 3])
    malignant = np.random.default_rng(2).random(403) < 1 / (1 + np.exp(-logits))
    found = NoiseFree.measure(logits, malignant, [str(i) for i in range(403)]).spread(logits)
    assert found.logits == (-3.0, 0.0, 2.0)
    assert all(low < high for low, high in zip(found.low, found.high, strict=True))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_answers_that_few_photos_separate_wholly_have_ends_of_0_and_1():
    """As a first training on a handful of photos gives."""
    logits = np.array([-2000.0, -1900.0, 1900.0, 2000.0] * 3, np.float32)
    fits = [Calibration(scale, 0.0) for scale in (0.5, 1.0)]
    found = NoiseFree(logits, np.array([-2000.0, 2000.0]), fits).spread(logits)
    assert (found.at(-2000.0), found.at(2000.0)) == ((0, 0), (1, 1))
