"""Figures of merit from logits and labels alone, with intervals.

Intervals are 95 % by bootstrap over lesions: the photos of one lesion are drawn together, because they are not
independent. All functions take a whole split, ``(n,)`` arrays in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from securesplit.audit.metrics import exact_room
from training.data.dataset import Split
from training.data.photo import Photo
from training.evaluation.measured import Figure, Stratum
from training.output import text_table

Array = NDArray[Any]
MIN_CASES = 10  # malignant and benign photos that a stratum needs for an AUC
BINS = 10  # of the calibration error


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
    measure: Callable[[Array], Mapping[str, float]], lesions: Array, malignant: Array, *, draws: int
) -> dict[str, Figure]:
    """Every figure of `measure` with its interval.

    Args:
        measure: row numbers -> figures by name.
        lesions: which lesion each photo shows.
        malignant: bool; draws without both classes are left out.
        draws: bootstrap samples.
    """
    sampled: dict[str, list[float]] = {}
    for rows in both_classes(islice(lesion_samples(lesions), draws), malignant):
        for name, value in measure(rows).items():
            sampled.setdefault(name, []).append(value)
    found = measure(np.arange(len(malignant)))
    return {name: _figure(value, sampled.get(name, [])) for name, value in found.items()}


def _figure(value: float, sampled: list[float]) -> Figure:
    known = [v for v in sampled if np.isfinite(v)]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (np.nan, np.nan)
    return Figure(float(value), float(low), float(high))


def auc_interval(
    scores: NDArray[Any], malignant: NDArray[Any], lesions: NDArray[Any], *, draws: int = 500
) -> tuple[float, float, float]:
    """AUC with its 95 % interval, by bootstrap over lesions (photos of one lesion are drawn together).

    Args:
        scores: ``(n,)``, larger for malignant.
        malignant: ``(n,)`` labels.
        lesions: ``(n,)`` which lesion each photo shows.
        draws: bootstrap samples.
    """

    def measure(rows: Array) -> dict[str, float]:
        return {"auc": float(roc_auc_score(malignant[rows], scores[rows]))}

    found = bootstrap(measure, lesions, malignant, draws=draws)["auc"]
    return found.value, found.low, found.high


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


def expected_calibration_error(probability: NDArray[Any], malignant: NDArray[Any]) -> float:
    """ECE over the bins of `reliability` (Naeini et al. 2015), in 0..1."""
    gaps = [photos * abs(mean - share) for mean, share, photos in reliability(probability, malignant)]
    return sum(gaps) / len(probability)


def reliability(probability: NDArray[Any], malignant: NDArray[Any]) -> list[tuple[float, float, int]]:
    """(mean probability, share that is malignant, photos) of `BINS` equally filled bins, fewer of fewer photos."""
    groups = np.array_split(np.argsort(probability), BINS)
    return [(float(probability[g].mean()), float(malignant[g].mean()), len(g)) for g in groups if len(g)]


def ranking(scores: Array, malignant: Array, histology: Array) -> dict[str, float]:
    """AUC, pAUC above 80 % sensitivity, and AUC on histopathology-confirmed photos where both classes have any."""
    found = {"auc": float(roc_auc_score(malignant, scores)), "pauc": partial_auc(malignant, scores)}
    return found | of_confirmed(scores, malignant, histology)


def of_confirmed(scores: Array, malignant: Array, histology: Array) -> dict[str, float]:
    """``auc_histology``, the AUC on histopathology-confirmed photos; nothing where those are of one class.

    Clinics often confirm the malignant ones alone.
    """
    if not 0 < malignant[histology].sum() < histology.sum():
        return {}
    return {"auc_histology": float(roc_auc_score(malignant[histology], scores[histology]))}


def of_answers(
    probability: Array, malignant: Array, histology: Array, lesions: Array, *, threshold: float, draws: int
) -> dict[str, Figure]:
    """Everything about one preset: ranking, decisions at its threshold, calibration error."""

    def measure(rows: Array) -> dict[str, float]:
        p, y = probability[rows], malignant[rows]
        return {
            **ranking(p, y, histology[rows]),
            **at_threshold(y, p >= threshold),
            "ece": expected_calibration_error(p, y),
        }

    found = bootstrap(measure, lesions, malignant, draws=draws)
    of_class = {"sensitivity": malignant, "specificity": ~malignant}
    return found | {name: _exact(found[name], len(np.unique(lesions[rows]))) for name, rows in of_class.items()}


def _exact(rate: Figure, lesions: int) -> Figure:
    """With exact ends where no photo was called wrongly, or every one, so that no sample differs from another."""
    below, above = exact_room(rate.value, lesions)
    return Figure(rate.value, rate.low - below, rate.high + above)


def scores(logits: NDArray[np.float32], split: Split, threshold_logit: float, *, draws: int = 1) -> dict[str, float]:
    """AUC with its interval, AUC on histopathology-confirmed photos where both classes have any, and decisions.

    Args:
        logits: ``(draws * n,)``, all photos of a draw together.
        split: ``n`` photos.
        threshold_logit: from which on a photo is called malignant.
        draws: how often the noise of each photo was drawn.
    """
    malignant, histology = np.tile(split.malignant.astype(bool), draws), np.tile(split.histology, draws)
    auc, low, high = auc_interval(logits, malignant, np.tile(split.lesion, draws))
    decisions = at_threshold(malignant, logits >= threshold_logit)
    result = {"auc": auc, "auc_low": low, "auc_high": high, **decisions}
    result |= of_confirmed(logits, malignant, histology)
    return {key: round(value, 4) for key, value in result.items()}


def strata(photos: tuple[Photo, ...]) -> dict[str, Array]:
    """Rows of each group of people and places, by its name: sex, age in three bands, body site."""
    groups: dict[str, list[int]] = {}
    for row, photo in enumerate(photos):
        for name in (
            f"sex: {photo.sex or 'unknown'}",
            f"age: {_band(photo.years)}",
            f"site: {photo.site or 'unknown'}",
        ):
            groups.setdefault(name, []).append(row)
    order = sorted(groups, key=lambda name: (name.split(":")[0], name.endswith("unknown"), "below" not in name, name))
    return {name: np.array(groups[name]) for name in order}


def _band(years: float | None) -> str:
    if years is None:
        return "unknown"
    return "below 40" if years < 40 else "40 to 59" if years < 60 else "60 and over"


def by_stratum(
    probability: Array, malignant: Array, photos: tuple[Photo, ...], *, threshold: float, draws: int, baseline: Array
) -> list[Stratum]:
    """A row a stratum: photos, malignant ones, and its figures where it has enough of both classes.

    `baseline` are the scores of the colour-only model; its AUC stands in each row as ``floor_auc``.
    """
    lesions = np.array([p.lesion for p in photos])
    rows = []
    for name, members in strata(photos).items():
        p, y = probability[members], malignant[members]
        row: Stratum = {"stratum": name, "photos": len(members), "malignant": int(y.sum())}
        if min(y.sum(), (~y).sum()) >= MIN_CASES:
            row["auc"] = Figure(*auc_interval(p, y, lesions[members], draws=draws))
            row["floor_auc"] = float(roc_auc_score(y, baseline[members]))
            decisions = at_threshold(y, p >= threshold)
            row["sensitivity"], row["specificity"] = decisions["sensitivity"], decisions["specificity"]
            row["balanced_accuracy"] = decisions["balanced_accuracy"]
        rows.append(row)
    return rows


def summary(measured: Mapping[str, Mapping[str, float]]) -> str:
    """A table for people: a row a preset."""
    columns = ["auc", "auc_histology", "sensitivity", "specificity", "balanced_accuracy", "ece"]
    rows = {name: [f"{figures.get(c, float('nan')):.4f}" for c in columns] for name, figures in measured.items()}
    return text_table("preset", columns, rows, 19)
