"""A7: the gallery holds a different photo of the same lesion.

The attacker learns from pairs of its own what two photos of one lesion have in common (`securesplit.audit.attacks
.likeness`). A full audit looks at several views of each photo in the gallery. Beside how often the other photo is named
among all stands how often it is told from one other photo of the same diagnosis, which is the AUC of "the same lesion
or another one" and does not fall with the size of the gallery.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.attack import AttackSpec, one_step
from securesplit.audit.attacks import likeness, views
from securesplit.audit.attacks.identification import label_only
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import MAX_LESIONS, MAX_TOLD_APART, Goal, GoalRule, at_most
from securesplit.audit.metrics import Estimate
from securesplit.audit.results import Column, NotRun, Result
from securesplit.audit.setting import Releases
from securesplit.i18n import gettext_noop
from securesplit.text import counted, rounded_up


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


def told_apart(scores: NDArray[Any], diagnoses: NDArray[Any]) -> NDArray[np.float64]:
    """Chance that each true candidate is ahead of one other of its diagnosis, ``(n, n)`` -> ``(n,)``: AUC of each row.

    A tie is half a win; where nobody else has the diagnosis there is nothing to tell, and it is a guess.

    Args:
        scores: of every candidate for every release; the true ones lie on the diagonal.
        diagnoses: ``(n,)`` of the candidates.

    >>> told_apart(np.array([[3, 1, 3], [2, 1, 0], [9, 9, 0]]), np.array([0, 1, 0])).tolist()
    [0.5, 0.5, 0.0]
    """
    own = np.diagonal(scores)[:, None]
    others = (diagnoses[:, None] == diagnoses) & ~np.eye(len(diagnoses), dtype=bool)
    wins, count = (others * ((own > scores) + (own == scores) / 2)).sum(1), others.sum(1)
    return np.asarray(np.divide(wins, count, out=np.full(len(wins), 0.5), where=count > 0))


@dataclass(frozen=True, kw_only=True)
class LesionResult(Result):
    """How often the other photo of the same lesion was named.

    Args:
        lesions: how many there are with two photos or more.
        top1: how often it was the first guess.
        top5: how often among the first five.
        told_apart: how often it was told from one other photo of the same diagnosis; by the answer alone in half of the
            cases.
        label_only: how often by the answer alone.
        paired_difference: of `top1` beyond `MAX_LESIONS` times `label_only`.
        certified_bound: that no attack exceeds.
    """

    kind: ClassVar[str] = "lesion"
    title: ClassVar[str] = gettext_noop("Lesion re-identification (A7)")
    explanation: ClassVar[str] = gettext_noop(
        "How often the attacker finds the other photo of the same mole: among all, and beside one of another mole with "
        "the same diagnosis, where a guess is right in half of the cases."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("lesions", "lesions"),
        ("top-1", "top1"),
        ("top-5", "top5"),
        ("told apart", "told_apart"),
        ("label-only", "label_only"),
        ("certified bound", "certified_bound"),
    )

    lesions: int
    top1: Estimate
    top5: Estimate
    told_apart: Estimate
    label_only: Estimate
    paired_difference: Estimate = field(metadata={"json": "excess"})
    certified_bound: float


def run(context: AuditContext, preset: str) -> LesionResult | NotRun:
    """Two photos of each lesion are drawn, again and again: one is in the gallery, the other is released."""
    observations, collection = context.observations[preset], context.collection
    found, learned = pairs(collection.targets.lesions), pairs(collection.auxiliary.lesions)
    count, subjects = len(found), collection.targets.subjects
    if count < likeness.MIN_PAIRS:
        reason = f"{counted(count, 'lesion')} with two photos, {likeness.MIN_PAIRS} are needed"
        return NotRun(preset=preset, attack="A7", reason=reason)
    auxiliary, targets, cut_short = _views(context, preset)
    own = (auxiliary.of(learned[:, 0]), observations.auxiliary[learned[:, 1]]) if len(learned) else None
    noise_free_answers = observations.says_malignant(observations.target_answers)
    truth, rounds = np.arange(count), -(-context.profile.decisions // count)
    diagnoses = noise_free_answers if collection.targets.malignant is None else collection.targets.malignant
    top1, top5, apart, baseline = [], [], [], []
    for seed in context.noise_seeds(preset):
        observed, logits = observations.observe(seed=seed)
        answers = observations.says_malignant(logits)
        for released, gallery in drawn_pairs(collection.targets.lesions, rounds, seed).transpose(0, 2, 1):
            ways = likeness.scores_of_views(targets.of(gallery), observed[released], context.sigma(preset), own)
            top1.append([metrics.top_k(way, truth, 1) for way in ways])
            top5.append([metrics.top_k(way, truth, 5) for way in ways])
            apart.append([told_apart(way, diagnoses[gallery]) for way in ways])
            baseline.append(label_only(noise_free_answers[gallery], answers[released], truth))
    of_ways = {1: np.mean(top1, axis=0), 5: np.mean(top5, axis=0)}  # (ways, lesions)
    best, apart_of_ways = int(of_ways[5].mean(1).argmax()), np.mean(apart, axis=0)
    by_label = np.mean(baseline, axis=0)
    rate = partial(metrics.rate, clusters=metrics.numbered([subjects[photo] for photo in found[:, 0]]))
    return LesionResult(
        preset=preset,
        attack="A7",
        cut_short=cut_short,
        lesions=count,
        top1=rate(of_ways[1][best]),
        top5=rate(of_ways[5][best]),
        told_apart=rate(apart_of_ways[int(apart_of_ways.mean(1).argmax())]),
        label_only=rate(by_label),
        paired_difference=rate(of_ways[1][best], less=MAX_LESIONS * by_label),
        certified_bound=rounded_up(observations.loss.identification_bound(count), 6),
    )


@dataclass(frozen=True)
class _Views:
    """Noise-free releases of photos.

    Args:
        photos: which, rising.
        releases: ``(photos, views, *shape)``.
    """

    photos: NDArray[np.intp]
    releases: Releases

    def of(self, photos: NDArray[np.intp]) -> likeness.Views:
        """Of some of them."""
        return list(np.moveaxis(self.releases[np.searchsorted(self.photos, photos)], 1, 0))


def _views(context: AuditContext, preset: str) -> tuple[_Views, _Views, str]:
    """Of the attacker's photos and the targets, at least of lesions that have two; and what time was too short for."""
    collection, observations = context.collection, context.observations[preset]
    if not context.profile.looks_at_views:
        own, other = observations.auxiliary, observations.targets
        return _Views(np.arange(len(own)), own[:, None]), _Views(np.arange(len(other)), other[:, None]), ""
    own_photos = np.unique(pairs(collection.auxiliary.lesions)[:, 0])
    photos = np.unique(np.concatenate(_of_several(collection.targets.lesions)))

    def made() -> views.Looked:
        own, targets = collection.auxiliary.pixels[own_photos], collection.targets.pixels[photos]
        return views.look(context, np.concatenate([own, targets]))

    looked = context.keep("views of lesions", made)
    grids = looked.grids[observations.preset.spec.base]
    found = observations.noise_free(grids.reshape(-1, *grids.shape[2:])).reshape(grids.shape)
    own, other = found[: len(own_photos)], found[len(own_photos) :]
    return _Views(own_photos, own), _Views(photos, other), looked.cut_short


def judge(preset: str, results: Sequence[LesionResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """Against the certified bound, where it says anything, and against label-only, which is then no promise.

    Where a preset has a limit for telling two photos apart (`MAX_TOLD_APART`), against that too.
    """
    for r in results:
        is_bounded = r.certified_bound < 1
        if is_bounded:
            goal = at_most(preset, f"A7 top-1 of {r.lesions}, certified bound", r.top1.low, r.certified_bound)
            yield views.open_if_cut_short(goal, r)
        claim, limit = f"A7 top-1 of {r.lesions}, 2 × label-only", MAX_LESIONS * r.label_only.mean
        goal = at_most(preset, claim, r.top1.mean, limit, paired_difference=r.paired_difference)
        yield replace(views.open_if_cut_short(goal, r), promised=not is_bounded)
        if preset in MAX_TOLD_APART:
            claim = "A7 the lesion told from one of its diagnosis, AUC"
            goal = at_most(preset, claim, r.told_apart.mean, MAX_TOLD_APART[preset])
            yield views.open_if_cut_short(goal, r)


SPEC = AttackSpec(
    id="A7",
    name=gettext_noop("Recognising the lesion"),
    description=gettext_noop("The attacker holds another photo of the same mole, among photos of other moles."),
    result_type=LesionResult,
    steps=one_step(run),
    goals=(GoalRule(judge, beyond_picture=True),),
)
