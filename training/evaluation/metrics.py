"""Figures of merit with intervals, from logits and labels alone.

Intervals are 95 % by bootstrap over lesions: the photos of one lesion are drawn together, because they are not
independent. All functions take a whole split, ``(n,)`` arrays in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from training.data.photo import Photo
from training.evaluation.deployed import expected_calibration_error

Array = NDArray[Any]
MIN_CASES = 10  # malignant and benign photos that a stratum needs for an AUC


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def partial_auc(malignant: Array, scores: Array, sensitivity: float = 0.8) -> float:
    """Area between the ROC curve and the line of `sensitivity`, 0 to 1 − sensitivity (ISIC 2024's measure).

    Chance is ``(1 − sensitivity)² / 2``: 0.02 at 80 %.
    """
    alarms, reached, _ = roc_curve(malignant, scores)
    first = int(np.argmax(reached >= sensitivity))  # the last point is (1, 1), so there is one
    crossing = np.interp(sensitivity, reached[first - 1 : first + 1], alarms[first - 1 : first + 1])
    heights = np.concatenate([[0.0], reached[first:] - sensitivity])
    widths = np.diff(alarms[first:], prepend=crossing)
    return float((widths * (heights[1:] + heights[:-1]) / 2).sum())


def at_threshold(malignant: Array, called: Array) -> dict[str, float]:
    """Sensitivity, specificity and balanced accuracy of the photos that were called malignant."""
    sensitivity, specificity = float(called[malignant].mean()), float((~called[~malignant]).mean())
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2,
    }


def ece(probability: Array, malignant: Array) -> float:
    """Expected calibration error over ten equally filled bins, fewer where there are fewer photos."""
    return expected_calibration_error(probability, malignant, bins=min(10, len(probability)))


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
    rng = np.random.default_rng(seed)
    _, group = np.unique(lesions, return_inverse=True)
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group))[:-1])
    sampled: dict[str, list[float]] = {}
    for _ in range(draws):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        if 0 < malignant[rows].sum() < len(rows):
            for name, value in measure(rows).items():
                sampled.setdefault(name, []).append(value)
    found = measure(np.arange(len(malignant)))
    return {name: _figure(value, sampled.get(name, [])) for name, value in found.items()}


def _figure(value: float, sampled: list[float]) -> Figure:
    known = [v for v in sampled if np.isfinite(v)]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (np.nan, np.nan)
    return Figure(float(value), float(low), float(high))


def ranking(scores: Array, malignant: Array, histology: Array) -> dict[str, float]:
    """AUC, pAUC above 80 % sensitivity, and AUC on histopathology-confirmed photos where both classes have any."""
    found = {"auc": float(roc_auc_score(malignant, scores)), "pauc": partial_auc(malignant, scores)}
    if 0 < malignant[histology].sum() < histology.sum():
        found["auc_histology"] = float(roc_auc_score(malignant[histology], scores[histology]))
    return found


def deployed(
    probability: Array, malignant: Array, histology: Array, lesions: Array, *, threshold: float, draws: int
) -> dict[str, Figure]:
    """Everything about one preset: ranking, decisions at its threshold, calibration error."""

    def measure(rows: Array) -> dict[str, float]:
        p, y = probability[rows], malignant[rows]
        return {**ranking(p, y, histology[rows]), **at_threshold(y, p >= threshold), "ece": ece(p, y)}

    return bootstrap(measure, lesions, malignant, draws=draws)


def strata(photos: tuple[Photo, ...]) -> dict[str, Array]:
    """Rows of each group of people and places, by its name: sex, age in three bands, body site."""
    groups: dict[str, list[int]] = {}
    for row, photo in enumerate(photos):
        for name in (f"sex: {photo.sex or 'unknown'}", f"age: {_band(photo.age)}", f"site: {photo.site or 'unknown'}"):
            groups.setdefault(name, []).append(row)
    order = sorted(groups, key=lambda name: (name.split(":")[0], name.endswith("unknown"), "below" not in name, name))
    return {name: np.array(groups[name]) for name in order}


def _band(age: str) -> str:
    try:
        years = float(age)
    except ValueError:
        return "unknown"
    return "below 40" if years < 40 else "40 to 59" if years < 60 else "60 and over"


def by_stratum(
    probability: Array, malignant: Array, photos: tuple[Photo, ...], *, threshold: float, draws: int, baseline: Array
) -> list[dict[str, Any]]:
    """A row a stratum: photos, malignant ones, and its figures where it has enough of both classes.

    `baseline` are the scores of the colour-only model; its AUC stands in each row as ``floor_auc``.
    """
    lesions = np.array([p.lesion for p in photos])
    rows = []
    for name, members in strata(photos).items():
        p, y = probability[members], malignant[members]
        row: dict[str, Any] = {"stratum": name, "photos": len(members), "malignant": int(y.sum())}
        if min(y.sum(), (~y).sum()) >= MIN_CASES:
            row["auc"] = bootstrap(_auc_of(p, y), lesions[members], y, draws=draws)["auc"]
            row["floor_auc"] = float(roc_auc_score(y, baseline[members]))
            row |= at_threshold(y, p >= threshold)
        rows.append(row)
    return rows


def _auc_of(probability: Array, malignant: Array) -> Callable[[Array], dict[str, float]]:
    return lambda rows: {"auc": float(roc_auc_score(malignant[rows], probability[rows]))}


def reliability(probability: Array, malignant: Array, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean probability, share that is malignant, photos) of equally filled bins, as the ECE uses them."""
    groups = np.array_split(np.argsort(probability), bins)
    return [(float(probability[g].mean()), float(malignant[g].mean()), len(g)) for g in groups if len(g)]


def temperature(logits: Array, malignant: Array) -> float:
    """The T of ``p = σ(logit / T)`` that makes the labels likeliest (Guo et al. 2017), by golden-section search."""
    low, high = np.log(0.05), np.log(20.0)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(logits / np.exp(a), malignant) < _loss(logits / np.exp(b), malignant):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


def _loss(logits: Array, malignant: Array) -> float:
    return float(np.mean(np.logaddexp(0.0, np.where(malignant, -logits, logits))))
