"""A7: the gallery holds a different photo of the same lesion.

Person re-identification's setting. The attacker learns from pairs of its own how far two photos of one lesion lie apart
and adds the noise, both as covariances: by Mahalanobis distance (KISSME without its second term, Köstinger et al., CVPR
2012), and by the likelihood of Gaussian models, where the other photo says less of what differs within a lesion than of
what differs between lesions (two covariances, Brümmer and de Villiers, Odyssey 2010). Covariances of few pairs are
shrunk (Ledoit and Wolf 2004), so that pairs may be fewer than numbers. A release of one number of few values is also
compared by the likelihood itself: how often, among the attacker's own pairs, that value was seen beside that one. The
plain distance is tried too and the best way counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.attack import AttackSpec, one_step
from securesplit.audit.attacks.identification import label_only
from securesplit.audit.baselines import squared_distances
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import MAX_LESIONS, Goal, GoalRule, at_most
from securesplit.audit.metrics import Estimate
from securesplit.audit.results import Column, NotRun, Result
from securesplit.audit.setting import Releases
from securesplit.i18n import gettext_noop
from securesplit.text import counted

MAX_NUMBERS = 512
"""Longer releases are compared by the plain distance only."""
MAX_VALUES = 64
"""Up to so many different noise-free values of a one-number release are counted."""
MIN_PAIRS = 20


def pairs(lesions: Sequence[str]) -> NDArray[np.intp]:
    """Indices ``(p, 2)`` of two different photos of each lesion that has two."""
    return np.array([photos[:2] for photos in _of_several(lesions)], np.intp).reshape(-1, 2)


def drawn_pairs(lesions: Sequence[str], rounds: int, seed: int) -> NDArray[np.intp]:
    """Indices ``(rounds, p, 2)``: in each round two photos of each lesion that has two, drawn in random order."""
    rng = np.random.default_rng(seed)
    found = _of_several(lesions)
    drawn = [[rng.choice(photos, 2, replace=False) for photos in found] for _ in range(rounds)]
    return np.array(drawn, np.intp).reshape(rounds, -1, 2)


def _of_several(lesions: Sequence[str]) -> list[list[int]]:
    """The photos of each lesion that has two or more."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, lesion in enumerate(lesions):
        members[lesion].append(index)
    return [photos for photos in members.values() if len(photos) > 1]


def scores(
    gallery: Releases, observed: Releases, sigma: float, own_pairs: tuple[Releases, Releases] | None
) -> list[NDArray[np.float64]]:
    """``(m, n)`` scores, higher is likelier the same lesion, one matrix for each way to compare.

    Args:
        gallery: ``(n, *shape)`` noise-free releases of the candidates' other photos.
        observed: ``(m, *shape)`` noisy releases.
        sigma: of the noise, embedding units.
        own_pairs: noise-free releases of the attacker's own pairs, photos as in the gallery and photos as they are
            released; None: it has none.
    """
    ways = [-squared_distances(gallery, observed)]
    numbers = int(np.prod(gallery.shape[1:]))
    if own_pairs is not None and len(own_pairs[0]) >= MIN_PAIRS and numbers <= MAX_NUMBERS:
        ways += _learned(flat(gallery), flat(observed), sigma, (flat(own_pairs[0]), flat(own_pairs[1])))
        values = np.unique(np.concatenate([np.ravel(releases) for releases in (*own_pairs, gallery)]))
        if numbers == 1 and len(values) <= MAX_VALUES:
            ways.append(_counted(values, gallery, observed, sigma, own_pairs))
    return ways


def _counted(
    values: Releases, gallery: Releases, observed: Releases, sigma: float, own_pairs: tuple[Releases, Releases]
) -> NDArray[np.float64]:
    """Ln P[observed | gallery] over the noise-free values in between, from counts of pairs in both orders."""
    first, second = (np.searchsorted(values, np.ravel(releases)) for releases in own_pairs)
    counts = np.full((len(values), len(values)), 1 / len(values))  # one pseudo-count a row
    np.add.at(counts, (first, second), 1.0)
    np.add.at(counts, (second, first), 1.0)
    beside = counts / counts.sum(1, keepdims=True)  # P[noise-free value of the one photo | value of the other]
    distances = np.square(np.ravel(observed)[:, None].astype(np.float64) - values)
    seen = np.exp(-distances / (2 * sigma**2)) if sigma else (distances == distances.min(1, keepdims=True)) * 1.0
    likelihood = seen @ beside[np.searchsorted(values, np.ravel(gallery))].T
    return np.asarray(np.log(likelihood + 1e-300))


def _learned(
    gallery: Releases, observed: Releases, sigma: float, own_pairs: tuple[Releases, Releases]
) -> list[NDArray[np.float64]]:
    """Scores by what the attacker's own pairs differ by, and by what else they say of each other; releases are flat."""
    first, second = (each.astype(np.float64) for each in own_pairs)
    means = first.mean(0), second.mean(0)
    apart, everything = covariance(first - second), covariance(np.r_[first - means[0], second - means[1]])
    noise = sigma**2 * np.eye(len(apart))
    expecting, rest = _other_photo(apart / 2, everything)
    return [
        mahalanobis(gallery, observed, apart + noise),
        mahalanobis(means[1] + (gallery - means[0]) @ expecting.T, observed, rest + noise),
    ]


def _other_photo(within: NDArray[np.float64], everything: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """How a lesion's other photo follows from one: the linear map about the mean, and the covariance of what is left.

    Args:
        within: covariance of a photo's release about the mean of its lesion, ``(numbers, numbers)``.
        everything: of all releases; what lies between lesions is the difference.
    """
    from scipy.linalg import eigh

    shares, directions = eigh(within, everything)
    directions = everything @ directions
    within = (directions * shares.clip(0, 1)) @ directions.T  # no lesion varies more than all of them
    expecting = np.eye(len(within)) - np.linalg.solve(everything, within).T
    return expecting, everything - expecting @ everything @ expecting.T


def covariance(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of ``(n, numbers)`` about zero, its correlations shrunk towards none, and regular."""
    from sklearn.covariance import ledoit_wolf

    sizes = np.sqrt(np.square(centred).mean(0) + 1e-12)
    alike = ledoit_wolf(centred / sizes, assume_centered=True)[0] if centred.shape[1] > 1 else np.eye(1)
    return np.asarray(sizes[:, None] * (alike + 1e-9 * np.eye(len(sizes))) * sizes)


def mahalanobis(
    gallery: NDArray[np.floating], observed: NDArray[np.floating], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(m, n)``, the nearer the higher, where what was observed differs by that covariance."""
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(values.clip(1e-12))
    return -squared_distances(gallery @ whiten, observed @ whiten)


def flat(releases: Releases) -> Releases:
    """``(n, numbers)`` of ``(n, *shape)``."""
    return releases.reshape(len(releases), -1)


@dataclass(frozen=True, kw_only=True)
class LesionResult(Result):
    """How often the other photo of the same lesion was named.

    Args:
        lesions: how many there are with two photos or more.
        top1: how often it was the first guess.
        top5: how often among the first five.
        label_only: how often by the answer alone.
        paired_difference: of `top1` beyond `MAX_LESIONS` times `label_only`.
    """

    kind: ClassVar[str] = "lesion"
    title: ClassVar[str] = gettext_noop("Lesion re-identification (A7)")
    explanation: ClassVar[str] = gettext_noop("How often the attacker finds the other photo of the same mole.")
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("lesions", "lesions"),
        ("top-1", "top1"),
        ("top-5", "top5"),
        ("label-only", "label_only"),
    )

    lesions: int
    top1: Estimate
    top5: Estimate
    label_only: Estimate
    paired_difference: Estimate = field(metadata={"json": "excess"})


def run(context: AuditContext, preset: str) -> LesionResult | NotRun:
    """Two photos of each lesion are drawn, again and again: one is in the gallery, the other is released."""
    observations, collection = context.observations[preset], context.collection
    found, learned = pairs(collection.targets.lesions), pairs(collection.auxiliary.lesions)
    count, subjects = len(found), collection.targets.subjects
    if count < MIN_PAIRS:
        reason = f"{counted(count, 'lesion')} with two photos, {MIN_PAIRS} are needed"
        return NotRun(preset=preset, attack="A7", reason=reason)
    own_pairs = (observations.auxiliary[learned[:, 0]], observations.auxiliary[learned[:, 1]]) if len(learned) else None
    noise_free_answers = observations.says_malignant(observations.target_answers)
    truth, rounds = np.arange(count), -(-context.profile.decisions // count)
    top1, top5, baseline = [], [], []
    for seed in context.noise_seeds(preset):
        observed, logits = observations.observe(seed=seed)
        answers = observations.says_malignant(logits)
        for released, gallery in drawn_pairs(collection.targets.lesions, rounds, seed).transpose(0, 2, 1):
            ways = scores(observations.targets[gallery], observed[released], context.sigma(preset), own_pairs)
            top1.append([metrics.top_k(way, truth, 1) for way in ways])
            top5.append([metrics.top_k(way, truth, 5) for way in ways])
            baseline.append(label_only(noise_free_answers[gallery], answers[released], truth))
    of_ways = {1: np.mean(top1, axis=0), 5: np.mean(top5, axis=0)}  # (ways, lesions)
    best = int(of_ways[5].mean(1).argmax())
    by_label = np.mean(baseline, axis=0)
    rate = partial(metrics.rate, clusters=metrics.numbered([subjects[photo] for photo in found[:, 0]]))
    return LesionResult(
        preset=preset,
        attack="A7",
        lesions=count,
        top1=rate(of_ways[1][best]),
        top5=rate(of_ways[5][best]),
        label_only=rate(by_label),
        paired_difference=rate(of_ways[1][best], less=MAX_LESIONS * by_label),
    )


def judge(preset: str, results: Sequence[LesionResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """Against label-only."""
    for r in results:
        claim, limit = f"A7 top-1 of {r.lesions}, 2 × label-only", MAX_LESIONS * r.label_only.mean
        yield at_most(preset, claim, r.top1.mean, limit, paired_difference=r.paired_difference)


SPEC = AttackSpec(
    id="A7",
    name=gettext_noop("Recognising the lesion"),
    description=gettext_noop("The attacker holds another photo of the same mole, among photos of other moles."),
    result_type=LesionResult,
    steps=one_step(run),
    goals=(GoalRule(judge, beyond_picture=True),),
)
