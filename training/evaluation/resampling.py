"""Intervals by bootstrap over lesions: the photos of one lesion are drawn together, since they are not independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

Array = NDArray[Any]


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def lesion_samples(lesions: Array, *, seed: int = 1) -> Iterator[NDArray[np.int64]]:
    """Row numbers of bootstrap samples, without end: as many lesions as there are, each with all of its photos.

    Args:
        lesions: ``(n,)`` which lesion each photo shows.
        seed: of the samples.
    """
    rng = np.random.default_rng(seed)
    _, group = np.unique(lesions, return_inverse=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    while True:
        yield np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])


def both_classes(samples: Iterator[NDArray[np.int64]], malignant: Array) -> Iterator[NDArray[np.int64]]:
    """Those `samples` that hold benign and malignant photos."""
    return (rows for rows in samples if 0 < malignant[rows].sum() < len(rows))


def bootstrap(
    measure: Callable[[Array], Mapping[str, float]], lesions: Array, malignant: Array, *, draws: int, seed: int = 1
) -> dict[str, Figure]:
    """Every figure of `measure` with its interval.

    Args:
        measure: row numbers -> figures by name.
        lesions: which lesion each photo shows.
        malignant: bool; draws without both classes are left out.
        draws: bootstrap samples.
        seed: of the samples.
    """
    sampled: dict[str, list[float]] = {}
    for rows in both_classes(islice(lesion_samples(lesions, seed=seed), draws), malignant):
        for name, value in measure(rows).items():
            sampled.setdefault(name, []).append(value)
    found = measure(np.arange(len(malignant)))
    return {name: _figure(value, sampled.get(name, [])) for name, value in found.items()}


def _figure(value: float, sampled: list[float]) -> Figure:
    known = [v for v in sampled if np.isfinite(v)]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (np.nan, np.nan)
    return Figure(float(value), float(low), float(high))


def auc_interval(
    scores: NDArray[Any], malignant: NDArray[Any], lesions: NDArray[Any], *, draws: int = 500, seed: int = 1
) -> tuple[float, float, float]:
    """AUC with its 95 % interval, by bootstrap over lesions (photos of one lesion are drawn together).

    Args:
        scores: ``(n,)``, larger for malignant.
        malignant: ``(n,)`` labels.
        lesions: ``(n,)`` which lesion each photo shows.
        draws: bootstrap samples.
        seed: of the bootstrap.
    """
    sampled = bootstrap(
        lambda rows: {"auc": float(roc_auc_score(malignant[rows], scores[rows]))},
        *(lesions, malignant),
        draws=draws,
        seed=seed,
    )["auc"]
    return sampled.value, sampled.low, sampled.high
