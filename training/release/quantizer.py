"""From a score to the few levels that `certified` releases: where to cut, and what each released integer says.

A release of one number tells photos apart by how many values it has, and the answer by how well those values rank
malignant above benign. So the score is cut into m levels at the thresholds that lose the least AUC under the preset's
own noise, by the smoothed distribution of the scores: fitted to the validation photos as they are, thresholds lose more
on other photos. For a normal score of AUC 0.918, 5 levels lose 1.2 points and 6 lose 0.8; a continuous release of the
same maximal leakage loses as much, but k of them leak more and more, and k releases of m levels never more than m times
a guess (`securesplit.privacy.leakage`). Numpy and SciPy only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

CANDIDATES = 120
"""Quantiles of the scores among which the thresholds are searched."""
STARTS = 4
FAR = 64.0
"""Grid steps up to which the decoder's answer keeps rising, for `--privacy` with more noise."""
SMOOTHING = 0.3
"""Width of the kernel, in standard deviations of the scores' normal quantiles."""
SLOPE = 0.02
"""Least rise of the decoder's logit a grid step."""


@dataclass(frozen=True)
class Quantizer:
    """Fitted thresholds, and what each released integer says.

    Args:
        thresholds: ``(m - 1,)`` rising, in units of the score; level ``-(m // 2)`` lies below the first.
        values: ``(v,)`` rising grid integers, as floats.
        logits: ``(v,)`` log-odds of malignant at each of them.
        auc: with the noise, on the scores that it was fitted to.
    """

    thresholds: NDArray[np.float64]
    values: NDArray[np.float64]
    logits: NDArray[np.float64]
    auc: float

    def level(self, scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """``(n,)`` scores -> ``(n,)`` levels: the release before its noise."""
        return np.searchsorted(self.thresholds, scores, side="left").astype(np.int64) - (len(self.thresholds) + 1) // 2


def channel(levels: int, variance: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """``P[y | x]`` for the m levels x and every integer y that the noise reaches, ``(m, values)``, and those values."""
    least = -(levels // 2)
    reach = int(np.ceil(9 * np.sqrt(variance))) if variance else 0
    values = np.arange(least - reach, least + levels + reach)
    offsets = values[None] - np.arange(least, least + levels)[:, None]
    if not variance:
        return (offsets == 0).astype(np.float64), values
    support = np.arange(-reach - levels, reach + levels + 1)
    mass = np.exp(-(offsets**2) / (2 * variance)) / np.exp(-(support**2) / (2 * variance)).sum()
    return mass, values


def released_auc(benign: NDArray[Any], malignant: NDArray[Any]) -> NDArray[np.float64]:
    """AUC, ties counted half, of ordered values with these class probabilities ``(..., values)``."""
    below = np.cumsum(benign, axis=-1) - benign
    return np.asarray((malignant * (below + benign / 2)).sum(-1))


def fit(scores: NDArray[np.floating], malignant: NDArray[np.bool_], levels: int, variance: float) -> Quantizer:
    """Thresholds by coordinate ascent over quantiles of the scores, from several starts.

    Args:
        scores: ``(n,)``, larger for malignant.
        malignant: ``(n,)`` labels.
        levels: how many, at least 3; an even number leaves the highest value of the grid unused.
        variance: σ² of the discrete Gaussian, squared grid steps.

    Raises:
        ValueError: the number of levels is too small.
    """
    if levels < 3:
        raise ValueError(f"{levels} levels: at least 3 are needed")
    cuts = np.unique(np.quantile(scores, np.linspace(0, 1, CANDIDATES + 2)[1:-1]))
    if len(cuts) < levels:  # fewer distinct scores than levels: places between them
        cuts = np.linspace(float(scores.min()) - 1e-3, float(scores.max()) + 1e-3, CANDIDATES)
    cumulative = [np.r_[0, _smoothed(scores, m, cuts), 1] for m in (~malignant, malignant)]
    noise, values = channel(levels, variance)

    def score(indices: NDArray[np.intp]) -> NDArray[np.float64]:
        inner = [np.pad(c[indices + 1], [(0, 0), (1, 1)], constant_values=((0, 0), (0, 1))) for c in cumulative]
        return released_auc(*(np.diff(c, axis=1) @ noise for c in inner))

    rng = np.random.default_rng(1)
    spread = np.linspace(0, len(cuts) - 1, levels + 1)[1:-1].astype(np.intp)
    starts = [spread, *(np.sort(rng.choice(len(cuts), levels - 1, replace=False)) for _ in range(STARTS - 1))]
    best = max((_ascend(start, len(cuts), score) for start in starts), key=lambda found: found[0])
    thresholds = cuts[best[1]]
    level = np.searchsorted(thresholds, scores, side="left")
    counts = [np.bincount(level[m], minlength=levels) for m in (~malignant, malignant)]
    auc = released_auc(*(c / c.sum() @ noise for c in counts))
    return Quantizer(thresholds, *_log_odds([c + 0.5 for c in counts], noise, values), float(auc))


def _smoothed(scores: NDArray[np.floating], members: NDArray[np.bool_], cuts: NDArray[Any]) -> NDArray[np.float64]:
    """Share of the members' scores below each cut, by a Gaussian kernel on the normal quantiles of their ranks."""
    ordered = np.sort(scores)
    normal = [ndtri((np.searchsorted(ordered, values) + 0.5) / (len(ordered) + 1)) for values in (scores, cuts)]
    return np.asarray(ndtr((normal[1][:, None] - normal[0][members]) / SMOOTHING).mean(1))


def _ascend(
    indices: NDArray[np.intp], count: int, score: Callable[[NDArray[np.intp]], NDArray[np.float64]]
) -> tuple[float, NDArray[np.intp]]:
    """Move one threshold at a time to its best place between its neighbours until none moves."""
    current = float(score(indices[None])[0])
    while True:
        before = current
        for j in range(len(indices)):
            low = indices[j - 1] + 1 if j else 0
            high = indices[j + 1] if j + 1 < len(indices) else count
            tried = np.repeat(indices[None], high - low, axis=0)
            tried[:, j] = np.arange(low, high)
            found = score(tried)
            if found.max() > current:
                current, indices = float(found.max()), tried[int(found.argmax())]
        if current <= before + 1e-7:
            return current, indices


def _log_odds(
    counts: list[NDArray[Any]], noise: NDArray[np.float64], values: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Release integers and their log-odds, made to rise, and to keep rising out to ±`FAR`."""
    near = np.abs(values) <= len(noise) // 2 + 1
    benign, malignant = (c @ noise[:, near] for c in counts)
    known = values[near].astype(np.float64)
    odds = np.log(malignant / benign)
    odds = np.maximum.accumulate(odds - SLOPE * known) + SLOPE * known
    out = SLOPE * (FAR - known[-1])
    return np.r_[-FAR, known, FAR], np.r_[odds[0] - out, odds, odds[-1] + out]
