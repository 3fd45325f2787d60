import numpy as np
import pytest

from securesplit.audit import metrics

RNG = np.random.default_rng(4)
PHOTOS = RNG.random((5, 24, 24, 3)).astype(np.float32)
BLURRED = (PHOTOS * 0.6 + 0.2).astype(np.float32)


def test_ssim_agrees_with_scikit_image():
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    expected = [
        structural_similarity(a.astype(float), b.astype(float), channel_axis=-1, data_range=1.0)
        for a, b in zip(PHOTOS, BLURRED, strict=True)
    ]
    # scikit-image crops the border where windows do not fit, as we do
    assert metrics.ssim(PHOTOS, BLURRED) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_a_photo_with_itself_is_one():
    assert metrics.ssim(PHOTOS, PHOTOS) == pytest.approx(1.0)


def test_auc_agrees_with_scikit_learn():
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    labels, scores = RNG.random(200) < 0.3, np.round(RNG.random(200), 1)  # with many ties
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert np.isnan(metrics.auc(np.ones(3), np.arange(3)))


def test_auc_interval_holds_the_auc():
    labels = RNG.random(300) < 0.3
    found = metrics.auc_interval(labels, labels + RNG.normal(size=300))
    assert found.low < found.mean < found.high


def test_skill_is_one_for_the_photo_and_zero_for_the_floor():
    floor = np.repeat(PHOTOS.mean(0, keepdims=True), 5, axis=0)
    assert metrics.skill(PHOTOS, PHOTOS, floor).mean == 1.0
    assert metrics.skill(PHOTOS, floor, floor).mean == 0.0
    assert metrics.skill(PHOTOS, 1 - PHOTOS, floor).mean < 0


def test_a_tie_counts_with_its_share():
    """An attacker who cannot tell candidates apart guesses among them: no more, and no less."""
    scores = np.zeros((3, 10))
    truth = np.array([0, 4, 9])
    assert metrics.top_k(scores, truth, 1) == pytest.approx(0.1)
    assert metrics.top_k(scores, truth, 5) == pytest.approx(0.5)
    assert metrics.top_k(scores, truth, 10) == pytest.approx(1.0)
    assert metrics.top_k(np.eye(10)[truth], truth, 1) == pytest.approx(1.0)
    assert metrics.top_k(1 - np.eye(10)[truth], truth, 9) == pytest.approx(0.0)


def test_bootstrap_interval():
    found = metrics.bootstrap(RNG.normal(3.0, 1.0, 400))
    assert found.low < 3.0 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.2)
    assert found.p95 == pytest.approx(3.0 + 1.645, abs=0.4)
