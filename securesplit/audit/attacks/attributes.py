"""A8: age, sex and body site from the release.

Attribute inference (Song and Shmatikov, "Overlearning reveals sensitive attributes", ICLR 2020): a probe is trained on
the attacker's own releases, seen through the noise. It is judged against a probe that sees only the answer's label,
since the answer is what the service is for; a probe that sees the answer's probability stands beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.attacks.baselines import nearest_index

MAX_FEATURES_WITH_ANSWER = 64
"""Up to so many numbers the probe of a release also sees the answer that the tail computes from it."""

MAX_VALUES = 64
"""Up to so many distinct releases are counted one by one."""
PSEUDO_COUNTS = 5.0


def probe(train: NDArray[Any], train_labels: NDArray[Any], test: NDArray[Any], *, seed: int) -> NDArray[np.float64]:
    """Scores ``(m, classes)`` of the better of a logistic and a boosted-tree probe, chosen on a fifth of `train`.

    Where the releases have few values the probe counts: no other can rank better what it has seen of each value.

    Args:
        train: ``(n, features)``.
        train_labels: ``(n,)`` integers from 0.
        test: ``(m, features)``.
        seed: of the probes.
    """
    values = np.unique(train, axis=0) if train.shape[1] <= MAX_FEATURES_WITH_ANSWER else train
    if len(values) <= MAX_VALUES:
        return _counted(values, train, train_labels, test)
    fit = np.arange(len(train)) % 5 != 4
    fitted = [way.fit(train[fit], train_labels[fit]) for way in _probes(seed, train.shape[1])]
    chosen = max(fitted, key=lambda way: float(way.score(train[~fit], train_labels[~fit])))
    return _all_classes(chosen, test, int(train_labels.max()) + 1)


def _counted(
    values: NDArray[Any], train: NDArray[Any], train_labels: NDArray[Any], test: NDArray[Any]
) -> NDArray[np.float64]:
    """Each class's share among the attacker's photos of the nearest value, drawn a little towards its share overall."""
    counts = np.zeros((len(values), int(train_labels.max()) + 1))
    np.add.at(counts, (nearest_index(values, train), train_labels), 1.0)
    shares = counts.sum(0) / counts.sum()
    told = (counts + PSEUDO_COUNTS * shares) / (counts.sum(1, keepdims=True) + PSEUDO_COUNTS)
    return np.asarray(told[nearest_index(values, test)])


def _probes(seed: int, features: int) -> list[Any]:
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    if features > MAX_FEATURES_WITH_ANSWER + 1:
        return [make_pipeline(PCA(MAX_FEATURES_WITH_ANSWER, svd_solver="randomized", random_state=seed), linear)]
    return [linear, HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=seed)]


def _all_classes(way: Any, test: NDArray[Any], classes: int) -> NDArray[np.float64]:
    scores = np.zeros((len(test), classes))
    scores[:, np.asarray(way.classes_, int)] = way.predict_proba(test)
    return scores


def macro_auc(labels: NDArray[Any], scores: NDArray[np.float64]) -> float:
    """Mean one-against-rest AUC over the classes that occur; for two classes the usual AUC."""
    from securesplit.audit.metrics import auc

    values = [auc(labels == c, scores[:, c]) for c in range(scores.shape[1]) if 0 < (labels == c).sum() < len(labels)]
    return float(np.mean(values)) if values else float("nan")


def gain_interval(
    labels: NDArray[Any], scores: NDArray[np.float64], floor: NDArray[np.float64], *, resamples: int = 300
) -> tuple[float, float]:
    """95 % bootstrap interval of `macro_auc` of `scores` minus that of `floor`; photos are resampled in pairs."""
    rng = np.random.default_rng(0)
    draws = [
        macro_auc(labels[i], scores[i]) - macro_auc(labels[i], floor[i])
        for i in rng.integers(0, len(labels), (resamples, len(labels)))
    ]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def interval(labels: NDArray[Any], scores: NDArray[np.float64], *, resamples: int = 300) -> tuple[float, float]:
    """95 % bootstrap interval of `macro_auc` over photos."""
    rng = np.random.default_rng(0)
    draws = [macro_auc(labels[i], scores[i]) for i in rng.integers(0, len(labels), (resamples, len(labels)))]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)
