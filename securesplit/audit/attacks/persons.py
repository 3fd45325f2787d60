"""A10: whose photos are these? k releases of one device among N persons.

The worker knows under which certificate a request came, so the releases of one device are linked. The attacker holds k
photos of each of N persons and computes their releases without noise. Where it knows which release belongs to which
photo (by their dates), it adds up the squared distances: the maximum-likelihood choice for isotropic noise and equally
likely persons. Where it does not, a person's distance is that of the best assignment of releases to photos (Kuhn 1955).

Persons are drawn: k photos each, taken at random from the targets. Where the list of photos knows patients or several
photos of a lesion, those are attacked too; such photos resemble each other. Intervals resample persons. Drawn ones
share photos where there are fewer than k a person, and theirs are somewhat too narrow then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import goals, metrics
from securesplit.audit.attack import AttackSpec, Steps
from securesplit.audit.baselines import squared_distances
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import Goal, GoalRule, at_most
from securesplit.audit.metrics import Estimate
from securesplit.audit.observations import Observations
from securesplit.audit.photos import Side
from securesplit.audit.results import Column, NotRun, Result
from securesplit.audit.setting import Releases
from securesplit.i18n import gettext_noop
from securesplit.text import counted, rounded_up

PHOTOS = (1, 2, 4, 6, 10)
"""Of each person."""
KNOWN_PHOTOS = (2, 3)
"""Of patients and lesions: few have more."""
MIN_PERSONS = 20
MOST_ASSIGNED = 200
"""So many persons are looked for by assignment where a release has more than one number."""
SAME_DIGITS = 6
"""Digits, in squared grid steps, after which two distances are the same: sums in another order differ in the last."""

Persons = NDArray[np.intp]
"""``(n, k)`` indices of each person's photos."""


def drawn_persons(photos: int, persons: int, each: int, seed: int) -> Persons:
    """Persons with `each` different photos, no photo twice in the same place; ``photos >= persons, each``."""
    rng = np.random.default_rng(seed)
    order, places = rng.permutation(photos), rng.choice(photos, each, replace=False)
    return np.asarray(order[(np.arange(persons)[:, None] + places) % photos])


def known_persons(side: Side, each: int) -> Persons:
    """The first `each` photos of every patient, or of every lesion where patients are not known, that has so many."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, subject in enumerate(side.subjects):
        members[subject].append(index)
    return np.array([found[:each] for found in members.values() if len(found) >= each], np.intp).reshape(-1, each)


def in_order(distances: NDArray[np.float64], persons: Persons) -> NDArray[np.float64]:
    """``(n, n)`` squared distances of every person's releases from every person's photos, one by one.

    Args:
        distances: ``(p, p)`` from every photo's release to every photo's noise-free release.
        persons: whose photos.
    """
    return np.asarray(np.sum([distances[np.ix_(column, column)] for column in persons.T], axis=0))


def assigned(distances: NDArray[np.float64], persons: Persons, seen: int) -> NDArray[np.float64]:
    """The same where the order is not known, for the first `seen` persons' releases, ``(seen, n)``.

    Only persons that may be at least as near as the right one are assigned, by a lower bound; the others keep their
    bound, which changes no rank of the right one.
    """
    return np.stack([_assigned_to(distances[persons[index]][:, persons], index) for index in range(seen)])


def _assigned_to(costs: NDArray[np.float64], truth: int) -> NDArray[np.float64]:
    """Least cost of assigning k releases to the photos of each of n persons, ``(k, n, k)`` -> ``(n,)``."""
    from scipy.optimize import linear_sum_assignment

    def least(person: int) -> float:
        return float(costs[:, person][linear_sum_assignment(costs[:, person])].sum())

    found = np.maximum(costs.min(2).sum(0), costs.min(0).sum(1))  # each release's, or each photo's, nearest
    for person in np.flatnonzero(found <= least(truth) * (1 + 1e-9) + 1e-9):
        found[person] = least(int(person))
    return np.asarray(found)


def sorted_distances(gallery: NDArray[np.floating], observed: NDArray[np.floating]) -> NDArray[np.float64]:
    """`assigned` for releases of one number: the best assignment is that of the sorted numbers.

    Args:
        gallery: ``(n, k)`` noise-free numbers of each person.
        observed: ``(m, k)`` released ones.
    """
    return squared_distances(np.sort(gallery, 1), np.sort(observed, 1))


@dataclass(frozen=True, kw_only=True)
class PersonResult(Result):
    """How often the right person was named.

    Args:
        persons: among how many.
        photos: of each.
        grouping: ``drawn`` at random, or ``known`` by the list of photos.
        top1: how often the first guess was right, the order of the photos known.
        unordered: the same, the order not known.
        label_only: `top1` of an attacker who sees the answers alone.
        unordered_label_only: `unordered` of that attacker.
        paired_difference: of `top1` and `label_only`.
        unordered_difference: of `unordered` and `unordered_label_only`.
        certified_bound: that no attack exceeds: the composition over the device's photos, as the ledger prints it.
        control: `top1` from the undefended preset; None where the bundle has none.
    """

    kind: ClassVar[str] = "person"
    title: ClassVar[str] = gettext_noop("A person over several photos (A10)")
    explanation: ClassVar[str] = gettext_noop(
        "How often the attacker names the right one of N persons from releases of k of their photos, which one device "
        "sent. The control is the same attack on releases without any protection."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("N", "persons"),
        ("k", "photos"),
        ("persons", "grouping"),
        ("order known", "top1"),
        ("label-only", "label_only"),
        ("order unknown", "unordered"),
        ("label-only, order unknown", "unordered_label_only"),
        ("certified bound", "certified_bound"),
        ("control", "control"),
    )

    persons: int
    photos: int
    grouping: str
    top1: Estimate
    unordered: Estimate
    label_only: Estimate
    unordered_label_only: Estimate
    paired_difference: Estimate = field(metadata={"json": "excess"})
    unordered_difference: Estimate = field(metadata={"json": "unordered_excess"})
    certified_bound: float
    control: Estimate | None


def run(context: AuditContext, preset: str, photos: int, *, known: bool = False) -> PersonResult | NotRun:
    """From that many photos of each person."""
    persons = _persons(context, photos, known=known)
    if len(persons) < MIN_PERSONS:
        reason = f"{counted(len(persons), 'person')} with {counted(photos, 'photo')}, {MIN_PERSONS} are needed"
        return NotRun(preset=preset, attack="A10", reason=reason, left_out=True)
    observations = context.observations[preset]
    draws = [_named(observations, persons, seed) for seed in context.noise_seeds(preset)]
    rates = {name: np.mean([draw[name] for draw in draws], axis=0) for name in draws[0]}
    unordered, baseline = rates["unordered"], rates["unordered_label_only"][: len(rates["unordered"])]
    bound = observations.loss.times(photos).identification_bound(len(persons))
    return PersonResult(
        preset=preset,
        attack="A10",
        persons=len(persons),
        photos=photos,
        grouping="known" if known else "drawn",
        top1=metrics.rate(rates["top1"]),
        unordered=metrics.rate(unordered),
        label_only=metrics.rate(rates["label_only"]),
        unordered_label_only=metrics.rate(baseline),
        paired_difference=metrics.rate(rates["top1"], less=rates["label_only"]),
        unordered_difference=metrics.rate(unordered, less=baseline),
        certified_bound=rounded_up(bound, 6),
        control=_control(context, persons),
    )


def _persons(context: AuditContext, photos: int, *, known: bool) -> Persons:
    targets = context.collection.targets
    if known:
        return known_persons(targets, photos)
    count = min(max(context.profile.candidates), len(targets.entries))
    return drawn_persons(len(targets.entries), count, photos, context.profile.seeds[0])


def _named(observations: Observations, persons: Persons, seed: int) -> Mapping[str, NDArray[np.float64]]:
    """How often each person was named rightly, under one draw of the noise."""
    observed, logits = observations.observe(seed=seed)
    told = observations.says_malignant(observations.target_answers)[persons].astype(np.float32)
    answers = observations.says_malignant(logits)[persons].astype(np.float32)
    distances = squared_distances(observations.targets, observed)
    scale = observations.preset.spec.step**2
    return {
        "top1": _first(in_order(distances, persons) / scale),
        "unordered": _first(_unordered(observations.targets, observed, distances, persons) / scale),
        "label_only": _first(squared_distances(told, answers)),
        "unordered_label_only": _first(sorted_distances(told, answers)),
    }


def _unordered(
    gallery: Releases, observed: Releases, distances: NDArray[np.float64], persons: Persons
) -> NDArray[np.float64]:
    if gallery[0].size == 1:
        return sorted_distances(np.ravel(gallery)[persons], np.ravel(observed)[persons])
    return assigned(distances, persons, min(len(persons), MOST_ASSIGNED))


def _first(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often the right person is the nearest, ``(m, n)`` -> ``(m,)``; release i is of person i."""
    return metrics.top_k(-np.round(distances, SAME_DIGITS), np.arange(len(distances)), 1)


def _control(context: AuditContext, persons: Persons) -> Estimate | None:
    """The order known, from the noise-free releases of the undefended preset."""
    undefended = context.observations.get(goals.UNDEFENDED)
    if undefended is None:
        return None
    targets = undefended.targets
    distances = context.keep("undefended distances", lambda: squared_distances(targets, targets))
    return metrics.rate(_first(in_order(distances, persons) / undefended.preset.spec.step**2))


def judge(preset: str, results: Sequence[PersonResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """Against the composed bound, where it says anything."""
    for r in results:
        strongest = max((r.top1, r.unordered), key=lambda rate: rate.low)
        if r.certified_bound < 1:
            claim = f"A10 {r.grouping} person of {r.persons}, {counted(r.photos, 'photo')}, certified bound"
            yield at_most(preset, claim, strongest.low, r.certified_bound)


def _steps(context: AuditContext, preset: str) -> Steps:
    drawn = {str(k): partial(run, context, preset, k) for k in PHOTOS}
    return drawn | {f"known {k}": partial(run, context, preset, k, known=True) for k in KNOWN_PHOTOS}


SPEC = AttackSpec(
    id="A10",
    name=gettext_noop("A person over several photos"),
    description=gettext_noop("Puts the releases of one device together to tell whose they are."),
    result_type=PersonResult,
    steps=_steps,
    goals=(GoalRule(judge, beyond_picture=True),),
)
