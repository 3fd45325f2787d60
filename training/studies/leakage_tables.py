"""What a release of few values tells: the attacks of the audit as tables, cheap enough for a frontier.

For one integer of few values the best attacker needs no network: it counts, among its own photos, what stood beside
each value. The attacker's photos are the training photos, the victims the validation photos; expectations over the
noise are exact sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.attacks.attributes import OLD_AGE
from securesplit.audit.attacks.lesion import pairs
from training.data.photo import Photo
from training.evaluation.calibration import SENSITIVITY
from training.release.quantizer import Quantizer, channel, released_auc

CANDIDATES = 1000


@dataclass(frozen=True)
class LevelledPhotos:
    """Photos of one split with the level of each, ``(n,)`` from -L to L, and thumbnails ``(n, 8, 8, 3)``."""

    photos: Sequence[Photo]
    level: NDArray[np.int64]
    malignant: NDArray[np.bool_]
    thumbnail: NDArray[np.float32]


def measure(own: LevelledPhotos, victims: LevelledPhotos, fitted: Quantizer, variance: float) -> dict[str, float]:
    """Every figure of one point, each leak beside what the label alone gives."""
    levels = len(fitted.thresholds) + 1
    noise, values = channel(levels, variance)
    least = _least_called(values, noise, victims)
    called = noise @ (values >= least)
    label = np.stack([1 - called, called], axis=1)
    found = {"auc": fitted.auc, "A6": _identified(noise, victims, levels)}
    found["A7"] = _lesions(own, victims, noise, levels)
    found["A7 label"] = _same_label(victims, called, np.arange(levels) - levels // 2 >= least, levels)
    for name, seen in (("", noise), (" label", label)):
        found[f"A1{name}"] = _thumbnails(own, victims, seen, levels)
        for attribute in ("age", "sex", "site"):
            found[f"{attribute}{name}"] = _attribute(own, victims, seen, levels, attribute)
    return {key: round(float(value), 5) for key, value in found.items()}


def _least_called(values: NDArray[np.int64], noise: NDArray[np.float64], victims: LevelledPhotos) -> int:
    """The released integer from which on a photo is called malignant, at the threshold of `SENSITIVITY`.

    The label-only attacker sees what it says.
    """
    counts = np.bincount(victims.level[victims.malignant] + len(noise) // 2, minlength=len(noise))
    reached = np.cumsum((counts / counts.sum() @ noise)[::-1])[::-1]
    return int(values[np.flatnonzero(reached >= SENSITIVITY)[-1]])


def _identified(noise: NDArray[np.float64], victims: LevelledPhotos, levels: int) -> float:
    """A6 among `CANDIDATES`: Σ_y max_x P[y | x] over the levels that occur, divided by N."""
    occupied = np.unique(victims.level) + levels // 2
    return float(noise[occupied].max(0).sum() / CANDIDATES)


def _lesions(own: LevelledPhotos, victims: LevelledPhotos, noise: NDArray[np.float64], levels: int) -> float:
    """A7, how many times better than a guess: the gallery's clean levels ranked by P[seen | other photo's level]."""
    mine, theirs = (pairs([p.lesion for p in side.photos]) for side in (own, victims))
    counts = np.full((levels, levels), 1 / levels)
    for a, b in ((0, 1), (1, 0)):
        np.add.at(counts, (own.level[mine[:, a]] + levels // 2, own.level[mine[:, b]] + levels // 2), 1.0)
    beside = counts / counts.sum(1, keepdims=True) @ noise  # P[seen | level of the gallery's photo]
    hits = []
    for a, b in ((0, 1), (1, 0)):
        released, gallery = (victims.level[theirs[:, i]] + levels // 2 for i in (a, b))
        occupied = np.bincount(gallery, minlength=levels)
        ranked = np.where(occupied[:, None] > 0, beside, -1.0)
        best = np.isclose(ranked, ranked.max(0), rtol=1e-9)  # (levels, values): what the attacker names for each value
        share = best / (best * occupied[:, None]).sum(0)
        hits.append((noise[released] * share[gallery]).sum(1))
    return float(np.mean(hits)) * len(theirs)


def _same_label(victims: LevelledPhotos, called: NDArray[np.float64], clean: NDArray[np.bool_], levels: int) -> float:
    """The baseline of A7: a guess among the gallery's photos of the label that was seen."""
    theirs = pairs([p.lesion for p in victims.photos])
    total = 0.0
    for a, b in ((0, 1), (1, 0)):
        released, gallery = (victims.level[theirs[:, i]] + levels // 2 for i in (a, b))
        counts = np.bincount(clean[gallery].astype(int), minlength=2)
        chance = np.where(clean[gallery], called[released], 1 - called[released])
        total += float((chance / counts[clean[gallery].astype(int)]).sum())
    return total / 2


def _thumbnails(own: LevelledPhotos, victims: LevelledPhotos, noise: NDArray[np.float64], levels: int) -> float:
    """A1 to A3 as a table: skill over the mean photo of each value's mean photo, the best guess under squared error."""
    seen, weight = _joint(own, noise, levels)
    flat = own.thumbnail.reshape(len(own.thumbnail), -1)
    means = seen.T @ flat / np.maximum(weight, 1e-9)[:, None]
    truth = victims.thumbnail.reshape(len(victims.thumbnail), -1)
    chance = noise[victims.level + levels // 2]
    error = (chance * np.square(truth[:, None] - means[None]).mean(-1)).sum(1).mean()
    return float(1 - error / np.square(truth - flat.mean(0)).mean())


def _joint(
    seen: LevelledPhotos, noise: NDArray[np.float64], levels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    chance = noise[seen.level + levels // 2]
    return chance, chance.sum(0)


def _attribute(
    own: LevelledPhotos, victims: LevelledPhotos, noise: NDArray[np.float64], levels: int, name: str
) -> float:
    """A8: macro AUC of an attribute, each value scored by how often the attacker saw it with that attribute."""
    mine, theirs = _classes(own.photos, name), _classes(victims.photos, name)
    chance, weight = _joint(own, noise, levels)
    known, seen = theirs != "", noise[victims.level + levels // 2]
    aucs = []
    for value in sorted(set(mine) - {""}):
        told_apart = 0 < (theirs[known] == value).sum() < known.sum()
        if (mine == value).mean() < 1 / 20 or (name == "age" and value == "young") or not told_apart:
            continue
        told = chance[mine == value].sum(0) / np.maximum(weight, 1e-9)
        aucs.append(_expected_auc(theirs[known] == value, seen[known], told))
    return float(np.mean(aucs)) if aucs else 0.5


def _expected_auc(labels: NDArray[np.bool_], seen: NDArray[np.float64], told: NDArray[np.float64]) -> float:
    """AUC of `told` over the noise: every photo counts at each value with that value's probability."""
    order = np.argsort(told)
    positive, negative = (seen[m].mean(0)[order] for m in (labels, ~labels))
    group = np.unique(np.round(told[order], 12), return_inverse=True)[1]
    positive, negative = (np.bincount(group, weights=p) for p in (positive, negative))
    return float(released_auc(negative, positive))


def _classes(photos: Sequence[Photo], name: str) -> NDArray[np.str_]:
    if name != "age":
        return np.array(["" if (v := getattr(p, name)) == "unknown" else v for p in photos])
    ages = [-1.0 if p.years is None else p.years for p in photos]
    return np.array(["" if age < 0 else "old" if age >= OLD_AGE else "young" for age in ages])
