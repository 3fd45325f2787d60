"""How much an attack got: reconstruction, identification and attribute metrics, with their intervals.

Every figure stands beside its baseline: MSE as *skill* over the class mean, SSIM with the class mean's own SSIM, a rate
with the rate of an attacker who sees only the predicted label.

Photos of one lesion resemble each other, so they say less than as many photos of different lesions: intervals draw
lesions, each with all its photos, wherever it is known which photos are of one (`Side.clusters`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Photos = NDArray[np.float32]
"""``(n, side, side, 3)`` in [0, 1]."""
ByDraw = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""How often each photo is in each draw ``(draws, n)`` -> a figure of each draw ``(draws,)``."""
Clusters: TypeAlias = NDArray[np.intp] | None
"""Of each photo ``(n,)`` the number of its cluster, from 0 without a gap; None: every photo is one of its own."""
AUC_RESAMPLES = 1000
"""Of the photos, for the interval of an AUC."""
_COUNTS_AT_ONCE = 1 << 18  # 2 MB of them


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % bootstrap interval and, where it is one of single values, the 95th percentile of those."""

    mean: float
    low: float
    high: float
    p95: float | None = None

    def to_json(self) -> dict[str, float]:
        """Five digits of each."""
        return {key: round(float(value), 5) for key, value in asdict(self).items() if value is not None}

    def less(self, amount: float) -> Estimate:
        """The same of what exceeds that amount."""
        return Estimate(*(round(value - amount, 5) for value in (self.mean, self.low, self.high)))


def interval(
    statistic: ByDraw, count: int, clusters: Clusters = None, *, resamples: int, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile-bootstrap interval (Efron 1979) of a statistic of `count` photos.

    Args:
        statistic: of the photos of each draw; NaN where it has no value for them.
        count: of the photos.
        clusters: which of them are drawn together (Davison and Hinkley 1997, section 3.8).
        resamples: how often clusters are drawn, with replacement, as many as there are.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn_of = np.arange(count) if clusters is None else clusters
    units = int(drawn_of.max(initial=-1)) + 1
    at_once = max(1, _COUNTS_AT_ONCE // max(1, count))

    def counts(draws: int) -> NDArray[np.int64]:
        cell = rng.integers(0, units, (draws, units)) + units * np.arange(draws)[:, None]
        return np.asarray(np.bincount(cell.ravel(), minlength=draws * units).reshape(draws, units)[:, drawn_of])

    sizes = [min(at_once, resamples - done) for done in range(0, resamples, at_once)]
    values = np.concatenate([statistic(counts(size)) for size in sizes])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def of_all(statistic: ByDraw, count: int) -> float:
    """A statistic of all `count` photos, each once."""
    return float(statistic(np.ones((1, count), np.int64))[0])


def estimate(statistic: ByDraw, count: int, clusters: Clusters = None, *, resamples: int = AUC_RESAMPLES) -> Estimate:
    """A statistic of all `count` photos, and its interval."""
    return Estimate(of_all(statistic, count), *interval(statistic, count, clusters, resamples=resamples))


def mean_by_draw(values: NDArray[np.float64]) -> ByDraw:
    """The mean of ``(n,)`` values in each draw."""
    return lambda counts: np.asarray(counts @ values / counts.sum(1))


def bootstrap(values: NDArray[Any], clusters: Clusters = None, *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean of ``(n,)`` values, its interval, and their 95th percentile."""
    values = np.asarray(values, np.float64)
    low, high = interval(mean_by_draw(values), len(values), clusters, resamples=resamples, seed=seed)
    return Estimate(float(values.mean()), low, high, float(np.percentile(values, 95)))


def most_unseen(trials: int) -> float:
    """The upper end of the exact 95 % interval of what happened in none of so many trials (Clopper and Pearson 1934).

    >>> round(most_unseen(100), 4)
    0.0362
    """
    return float(1 - 0.025 ** (1 / trials))


def exact_room(found: float, trials: int) -> tuple[float, float]:
    """How far the exact interval reaches below a rate of 1 and above a rate of 0 (`most_unseen`); else nowhere."""
    return most_unseen(trials) * (found == 1), most_unseen(trials) * (found == 0)


def rate(hits: NDArray[Any], clusters: Clusters = None, *, less: NDArray[Any] | float = 0.0) -> Estimate:
    """How often, of ``(n,)`` hits in 0 to 1, with its interval.

    Where nothing was hit, or everything, no draw of the photos differs from another; the interval is then the exact one
    of as many trials as there are clusters (`exact_room`).

    Args:
        hits: of each photo, a share where it was tried several times.
        clusters: of the photos.
        less: is taken off every hit, as a baseline's; the estimate is that of the difference.
    """
    hits = np.asarray(hits, np.float64)
    found = bootstrap(hits - less, clusters)
    units = len(hits) if clusters is None else int(clusters.max(initial=-1)) + 1
    below, above = exact_room(float(hits.mean()), units)
    return replace(found, low=found.low - below, high=found.high + above)


def averaged(estimates: Sequence[Estimate]) -> Estimate:
    """Means of means and of interval ends, four digits: of one figure over several draws of the noise."""
    ends = np.array([(each.mean, each.low, each.high) for each in estimates]).mean(0)
    return Estimate(*(round(float(value), 4) for value in ends))


def mse(photos: Photos, rebuilt: Photos) -> NDArray[np.float64]:
    """Mean squared error of each photo, ``(n,)``."""
    return np.asarray(np.square(photos.astype(np.float64) - rebuilt).mean((1, 2, 3)))


def skill(photos: Photos, rebuilt: Photos, class_mean: Photos, clusters: Clusters = None) -> Estimate:
    """MSE skill over the class mean: 1 − MSE / MSE(class mean); 0 learns nothing, 1 is the photo itself.

    The ratio is of means over all photos; its interval resamples them, its p95 is of single photos' skills.
    """
    ours, baseline = mse(photos, rebuilt), mse(photos, class_mean)

    def ratio(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(1 - (counts @ ours) / (counts @ baseline))

    single = 1 - ours / np.maximum(baseline, 1e-12)
    found = estimate(ratio, len(ours), clusters, resamples=2000)
    return replace(found, p95=float(np.percentile(single, 95)))


def ssim(photos: Photos, rebuilt: Photos) -> NDArray[np.float64]:
    """Structural similarity of each photo (Wang et al. 2004), ``(n,)``; uniform 7×7 window, mean over RGB."""
    from skimage.metrics import structural_similarity

    pairs = zip(photos.astype(np.float64), rebuilt.astype(np.float64), strict=True)
    return np.array([structural_similarity(x, y, channel_axis=-1, data_range=1.0) for x, y in pairs], np.float64)


def top_k(scores: NDArray[Any], truth: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Chance that the true candidate is among `k` named ones of the highest score, ``(n, candidates)`` -> ``(n,)``.

    Among candidates of one score the attacker names at random, so a tie counts with the share of it that is named: a
    release of few values ties many candidates, and counting ties as misses would flatter it.

    >>> top_k(np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 1.0]]), np.array([0, 2]), 1).tolist()
    [0.5, 0.0]
    """
    own = scores[np.arange(len(truth)), truth][:, None]
    ahead, tied = (scores > own).sum(1), (scores == own).sum(1)
    return np.asarray(np.clip((k - ahead) / tied, 0.0, 1.0))


def auc(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """Area under the ROC curve by ranks (Mann and Whitney 1947); NaN where one class is missing."""
    return of_all(auc_by_draw(labels, scores), len(labels))


def auc_by_draw(labels: NDArray[Any], scores: NDArray[Any]) -> ByDraw:
    """`auc` of each draw; scores are sorted once for all of them."""
    scores = np.asarray(scores)
    order = np.argsort(scores, kind="stable")
    positive = np.asarray(labels, bool)[order]
    first_of_level = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])

    def statistic(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        sorted_counts = counts[:, order]
        hits, others = (
            np.add.reduceat(np.where(those, sorted_counts, 0), first_of_level, axis=1)
            for those in (positive, ~positive)
        )
        wins = (hits * (others.cumsum(1) - others / 2)).sum(1)  # a tie is half a win
        pairs = hits.sum(1) * others.sum(1)
        return _divided(wins, pairs)

    return statistic


def auc_lost(
    labels: NDArray[Any], before: NDArray[Any], after: Sequence[NDArray[Any]], clusters: Clusters = None
) -> Estimate:
    """AUC of `before` minus the mean AUC of every one of `after`; photos are resampled in pairs."""
    of_before, of_after = auc_by_draw(labels, before), [auc_by_draw(labels, scores) for scores in after]

    def lost(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(of_before(counts) - np.mean([of_one(counts) for of_one in of_after], axis=0))

    return estimate(lost, len(labels), clusters)


def auc_interval(labels: NDArray[Any], scores: NDArray[Any], clusters: Clusters = None) -> Estimate:
    """AUC and its interval."""
    return estimate(auc_by_draw(labels, scores), len(labels), clusters)


def macro_auc(labels: NDArray[Any], scores: NDArray[np.float64]) -> float:
    """Mean one-against-rest AUC over the classes that occur; for two classes the usual AUC."""
    return of_all(macro_auc_by_draw(labels, scores), len(labels))


def macro_auc_by_draw(labels: NDArray[Any], scores: NDArray[np.float64]) -> ByDraw:
    """`macro_auc` of each draw; NaN where only one class occurs."""
    classes = [auc_by_draw(labels == c, scores[:, c]) for c in range(scores.shape[1])]

    def statistic(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        values = np.array([of_class(counts) for of_class in classes])
        return _divided(np.nansum(values, 0), (~np.isnan(values)).sum(0))

    return statistic


def _divided(sums: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    """Their ratio; NaN where there was nothing to count."""
    return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))


def numbered(names: Sequence[str] | Sequence[int] | NDArray[Any]) -> NDArray[np.intp]:
    """Clusters by their names.

    >>> numbered(["b", "a", "b"]).tolist()
    [1, 0, 1]
    """
    return np.asarray(np.unique(np.asarray(names), return_inverse=True)[1].reshape(-1), np.intp)


def among(clusters: NDArray[np.intp], chosen: NDArray[Any]) -> NDArray[np.intp]:
    """The clusters of some of the photos, by index or mask, numbered without a gap again."""
    return numbered(clusters[chosen])


class Tally:
    """Rates by photo over several galleries and draws, so that the bootstrap resamples photos.

    Args:
        clusters: of all photos, which are drawn together.
    """

    def __init__(self, clusters: NDArray[np.intp]) -> None:
        self._clusters, photos = clusters, len(clusters)
        self._hits: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(photos))
        self._tries: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(photos))

    def add(self, name: str, members: NDArray[np.intp], hits: NDArray[Any]) -> None:
        """One gallery: which photos were in it, and how often each was picked rightly."""
        self._hits[name][members] += hits
        self._tries[name][members] += 1

    def rate(self, name: str) -> Estimate:
        """Over all photos that were in a gallery."""
        tried, hits = self._shares(name)
        return rate(hits, among(self._clusters, tried))

    def paired_difference(self, name: str, baseline: str, times: float) -> Estimate:
        """The rate minus so many times the baseline's, photo by photo; both were tried in the same galleries."""
        (tried, hits), (_, of_baseline) = self._shares(name), self._shares(baseline)
        return rate(hits, among(self._clusters, tried), less=times * of_baseline)

    def _shares(self, name: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which photos were in a gallery, and how often each of them was picked rightly."""
        tried = self._tries[name] > 0
        return tried, self._hits[name][tried] / self._tries[name][tried]
