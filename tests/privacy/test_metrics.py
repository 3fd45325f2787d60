import numpy as np
import pytest

from securesplit.audit import metrics

RNG = np.random.default_rng(4)
PHOTOS = RNG.random((5, 24, 24, 3)).astype(np.float32)
BLURRED = (PHOTOS * 0.6 + 0.2).astype(np.float32)


def test_ssim_is_that_of_its_definition():
    """Over every whole 7×7 window, with unbiased variances (Wang et al. 2004)."""
    pytest.importorskip("skimage")

    def windows(photo):
        return np.lib.stride_tricks.sliding_window_view(photo.astype(np.float64), (7, 7), axis=(0, 1)).reshape(-1, 49)

    expected = []
    for x, y in zip(map(windows, PHOTOS), map(windows, BLURRED), strict=True):
        means, spread = (x.mean(1), y.mean(1)), (x.var(1, ddof=1), y.var(1, ddof=1))
        together = ((x - x.mean(1, keepdims=True)) * (y - y.mean(1, keepdims=True))).sum(1) / 48
        alike = (2 * means[0] * means[1] + 1e-4) * (2 * together + 9e-4)
        expected.append(np.mean(alike / ((means[0] ** 2 + means[1] ** 2 + 1e-4) * (sum(spread) + 9e-4))))
    assert metrics.ssim(PHOTOS, BLURRED) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_a_photo_with_itself_is_one():
    pytest.importorskip("skimage")
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
    baseline = np.repeat(PHOTOS.mean(0, keepdims=True), 5, axis=0)
    assert metrics.skill(PHOTOS, PHOTOS, baseline).mean == 1.0
    assert metrics.skill(PHOTOS, baseline, baseline).mean == 0.0
    assert metrics.skill(PHOTOS, 1 - PHOTOS, baseline).mean < 0


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


@pytest.mark.parametrize(("hit", "ends"), [(0, (0.0, 0.0362)), (1, (0.9638, 1.0))])
def test_what_never_or_always_happens_has_an_interval(hit, ends):
    """0 of 100 lesions: up to 3.62 % is possible by Clopper and Pearson's table, however many photos each has."""
    for photos in (1, 3):
        clusters = np.repeat(np.arange(100), photos)
        hits = np.full(len(clusters), hit)
        found = metrics.rate(hits, clusters)
        assert (found.mean, found.low, found.high) == pytest.approx((hit, *ends), abs=1e-4)
        beyond = metrics.rate(hits, clusters, less=np.full(len(clusters), 0.25))
        assert (beyond.low, beyond.high) == pytest.approx((ends[0] - 0.25, ends[1] - 0.25), abs=1e-4)
        tally = metrics.Tally(clusters)
        for name in ("hit", "baseline"):
            tally.add(name, np.arange(len(clusters)), hits)
        assert (tally.rate("hit").low, tally.rate("hit").high) == pytest.approx(ends, abs=1e-4)
        difference = tally.paired_difference("hit", "baseline", 1.0)
        assert difference.high - difference.low == pytest.approx(0.0362, abs=1e-4)


def test_a_rate_in_between_is_bootstrapped():
    hits = RNG.random(300) < 0.3
    assert metrics.rate(hits) == metrics.bootstrap(hits)
    assert metrics.rate(np.full(300, 0.5)) == metrics.bootstrap(np.full(300, 0.5))


def test_draws_together_are_those_one_by_one():
    """Intervals resample many draws at once, and say what a loop over single ones says."""
    labels, scores = RNG.integers(0, 3, 700), RNG.random((700, 3)).round(1)  # more than one chunk of draws, and ties
    for count in (700, 9):
        values = scores[:count, 0]
        rng = np.random.default_rng(3)
        draws = [rng.integers(0, count, count) for _ in range(500)]
        means = [values[drawn].mean() for drawn in draws]
        found = metrics.bootstrap(values, resamples=500, seed=3)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=1e-12)
        areas = [metrics.macro_auc(labels[drawn], scores[drawn]) for drawn in draws]
        together = metrics.macro_auc_by_draw(labels[:count], scores[:count])
        expected = np.nanpercentile(areas, [2.5, 97.5])
        assert metrics.interval(together, count, resamples=500, seed=3) == pytest.approx(expected, abs=1e-12)


LESIONS = np.arange(60)
OF_LESION = np.repeat(LESIONS, 3)
ONE_PHOTO = RNG.random((60, 8, 8, 3)).astype(np.float32)
MALIGNANT, SCORE, OTHER = RNG.random(60) < 0.4, RNG.random(60).round(1), RNG.random(60)
FIGURES = {
    "mean": lambda at, clusters: metrics.bootstrap(SCORE[at], clusters),
    "skill": lambda at, clusters: metrics.skill(ONE_PHOTO[at], ONE_PHOTO[at] * 0.8, ONE_PHOTO[at] * 0 + 0.5, clusters),
    "auc": lambda at, clusters: metrics.auc_interval(MALIGNANT[at], SCORE[at], clusters),
    "auc lost": lambda at, clusters: metrics.auc_lost(MALIGNANT[at], SCORE[at], [OTHER[at]], clusters),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_three_photos_of_each_lesion_say_no_more_than_one(figure):
    """Were they the same picture, three of each would tell nothing new, and the interval must not shrink."""
    one, three = FIGURES[figure](LESIONS, None), FIGURES[figure](OF_LESION, OF_LESION)
    assert (three.mean, three.low, three.high) == pytest.approx((one.mean, one.low, one.high), abs=1e-9)
    apart = FIGURES[figure](OF_LESION, None)
    assert apart.high - apart.low < 0.75 * (one.high - one.low)


def test_a_tally_draws_lesions_together():
    hits = SCORE[OF_LESION]
    rates = {}
    for name, clusters in (("together", OF_LESION), ("apart", np.arange(180))):
        tally = metrics.Tally(clusters)
        tally.add("hit", np.arange(30, 180), hits[30:])  # the first ten lesions were in no gallery
        tally.add("floor", np.arange(30, 180), hits[30:] / 2)
        rates[name] = tally.rate("hit"), tally.paired_difference("hit", "floor", 1.0)
    expected = metrics.bootstrap(SCORE[10:])
    assert (rates["together"][0].low, rates["together"][0].high) == pytest.approx((expected.low, expected.high))
    for together, apart in zip(rates["together"], rates["apart"], strict=True):
        assert apart.high - apart.low < 0.75 * (together.high - together.low)
