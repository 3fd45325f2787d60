"""How much an attack got: reconstruction, identification and attribute metrics, with their intervals. Numpy only.

Every figure stands beside its floor: MSE as *skill* over the class mean, SSIM with the class mean's own SSIM, a rate
with the rate of an attacker who sees only the predicted label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Photos = NDArray[np.float32]
"""``(n, side, side, 3)`` in [0, 1]."""

_SSIM_WINDOW = 7  # pixels, the uniform window of scikit-image's default


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % bootstrap interval and the 95th percentile of the single values."""

    mean: float
    low: float
    high: float
    p95: float

    def to_json(self) -> dict[str, float]:
        """Five digits of each."""
        return {key: round(float(value), 5) for key, value in asdict(self).items()}


def bootstrap(values: NDArray[Any], *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean of ``(n,)`` values, its percentile-bootstrap interval (Efron 1979), and their 95th percentile."""
    values = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (resamples, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high), float(np.percentile(values, 95)))


def mse(photos: Photos, rebuilt: Photos) -> NDArray[np.float64]:
    """Mean squared error of each photo, ``(n,)``."""
    return np.asarray(np.square(photos.astype(np.float64) - rebuilt).mean((1, 2, 3)))


def skill(photos: Photos, rebuilt: Photos, class_mean: Photos) -> Estimate:
    """MSE skill over the class mean: 1 − MSE / MSE(class mean); 0 learns nothing, 1 is the photo itself.

    The ratio is of means over all photos; its interval resamples photos, its p95 is of single photos' skills.
    """
    ours, floor = mse(photos, rebuilt), mse(photos, class_mean)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(ours), (2000, len(ours)))
    ratios = 1 - ours[picks].mean(1) / floor[picks].mean(1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    single = 1 - ours / np.maximum(floor, 1e-12)
    return Estimate(float(1 - ours.mean() / floor.mean()), float(low), float(high), float(np.percentile(single, 95)))


def ssim(photos: Photos, rebuilt: Photos) -> NDArray[np.float64]:
    """Structural similarity of each photo (Wang et al. 2004), ``(n,)``; uniform 7×7 window, mean over RGB."""
    x, y = photos.astype(np.float64), rebuilt.astype(np.float64)
    count = _SSIM_WINDOW**2
    unbiased = count / (count - 1)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variance_x = unbiased * (_window_mean(x * x) - mean_x**2)
    variance_y = unbiased * (_window_mean(y * y) - mean_y**2)
    covariance = unbiased * (_window_mean(x * y) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return np.asarray((numerator / denominator).mean((1, 2, 3)))


def _window_mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over every whole 7×7 window, ``(n, h - 6, w - 6, c)``."""
    for axis in (1, 2):
        sums = np.cumsum(x, axis)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        size = sums.shape[axis]
        upper = sums.take(range(_SSIM_WINDOW, size), axis)
        x = (upper - sums.take(range(size - _SSIM_WINDOW), axis)) / _SSIM_WINDOW
    return x


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
    positive = np.asarray(labels, bool)
    count = int(positive.sum())
    if count in (0, len(positive)):
        return float("nan")
    _, inverse, counts = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mid-ranks, from 1
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def auc_lost(
    labels: NDArray[Any], before: NDArray[Any], after: Sequence[NDArray[Any]], *, resamples: int = 1000
) -> tuple[float, float, float]:
    """AUC of `before` minus the mean AUC of every one of `after`, with its 95 % interval; photos resampled in pairs."""
    labels = np.asarray(labels, bool)

    def lost(i: Any) -> float:
        return auc(labels[i], before[i]) - float(np.mean([auc(labels[i], scores[i]) for scores in after]))

    rng = np.random.default_rng(0)
    draws = [lost(i) for i in rng.integers(0, len(labels), (resamples, len(labels)))]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return lost(slice(None)), float(low), float(high)


def auc_interval(labels: NDArray[Any], scores: NDArray[Any], *, resamples: int = 1000) -> tuple[float, float, float]:
    """AUC and its 95 % bootstrap interval over photos."""
    rng = np.random.default_rng(0)
    labels, scores = np.asarray(labels, bool), np.asarray(scores)
    draws = [auc(labels[i], scores[i]) for i in rng.integers(0, len(labels), (resamples, len(labels)))]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return auc(labels, scores), float(low), float(high)
