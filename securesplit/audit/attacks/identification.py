"""A6: which of N known photos was it?

The attacker has the N candidates, computes their releases without noise and takes the nearest (`squared_distances` and
`metrics.top_k`): the maximum-likelihood choice for isotropic noise and equally likely candidates, so no attacker does
better on one release. With a whole batch of releases of distinct photos it solves the assignment problem (Kuhn 1955),
which can do better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.attack import AttackSpec, Steps
from securesplit.audit.baselines import squared_distances
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import MAX_IDENTIFIED, Goal, GoalRule, at_most
from securesplit.audit.metrics import Estimate, Tally
from securesplit.audit.results import Column, NotRun, Result
from securesplit.i18n import gettext_noop
from securesplit.text import counted, rounded_up

ORDERS = 16
"""Of the candidates, over which the assignment of a batch is averaged."""


def assign(distances: NDArray[np.float64], seed: int, *, orders: int = ORDERS) -> NDArray[np.float64]:
    """The whole batch at once: release i is of candidate i; how often each is assigned rightly, ``(n,)`` in 0..1.

    Where many assignments are equally good the solver takes one by the candidates' position, which may not tell whose
    release it is and makes of one assignment a guess: so the share is that over several random orders of them.

    Args:
        distances: ``(n, n)`` from every observed release to every candidate's noise-free one.
        seed: of the orders.
        orders: how many.
    """
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(seed)
    right = np.zeros(len(distances))
    for _ in range(orders):
        order = rng.permutation(len(distances))
        rows, columns = linear_sum_assignment(distances[:, order])
        right[rows] += rows == order[columns]
    return right / orders


def label_only(
    gallery: NDArray[np.bool_], observed: NDArray[np.bool_], truth: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The baseline: how often a guess among the candidates with the answer that was seen is right, ``(m,)``.

    Args:
        gallery: ``(n,)`` the tail's answer to each candidate's noise-free release.
        observed: ``(m,)`` the tail's answer to each noisy release.
        truth: ``(m,)`` index of each one's photo in the gallery.
    """
    counts = {answer: max(1, int((gallery == answer).sum())) for answer in (False, True)}
    sizes = np.array([counts[bool(answer)] for answer in observed])
    return np.where(gallery[truth] == observed, 1 / sizes, 0.0)


def draw_galleries(photos: int, size: int, decisions: int, seed: int) -> list[NDArray[np.intp]]:
    """Random sets of `size` photos to choose among, so many that `decisions` photos are picked; one if it takes all."""
    rng = np.random.default_rng(seed)
    rounds = -(-decisions // size) if size < photos else 1
    return [rng.permutation(photos)[:size] for _ in range(rounds)]


@dataclass(frozen=True, kw_only=True)
class IdentificationResult(Result):
    """How often the right candidate was named.

    Args:
        candidates: among how many.
        releases: from the mean of how many independent ones.
        top1: how often it was the first guess.
        top5: how often among the first five.
        assigned: how often in an assignment of the whole batch.
        label_only: how often by the answer alone.
        paired_difference: of the stronger of `top1` and `assigned` beyond `MAX_IDENTIFIED` times `label_only`.
        certified_bound: that no attack exceeds.
    """

    kind: ClassVar[str] = "identification"
    title: ClassVar[str] = gettext_noop("Identification (A6)")
    explanation: ClassVar[str] = gettext_noop(
        "How often the attacker names the right one of N photos, from k releases. Label-only is the same from the "
        "answer alone; the certified bound is proven for every attack, also for those that nobody has thought of."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("N", "candidates"),
        ("k", "releases"),
        ("top-1", "top1"),
        ("top-5", "top5"),
        ("whole batch", "assigned"),
        ("label-only", "label_only"),
        ("certified bound", "certified_bound"),
    )

    candidates: int
    releases: int
    top1: Estimate
    top5: Estimate
    assigned: Estimate
    label_only: Estimate
    paired_difference: Estimate = field(metadata={"json": "excess"})
    certified_bound: float

    @property
    def strongest(self) -> Estimate:
        """One photo at a time, or the whole batch."""
        return max(self.top1, self.assigned, key=lambda rate: rate.mean)


def run(context: AuditContext, preset: str, candidates: int, releases: int) -> IdentificationResult | NotRun:
    """Among that many candidates, from the mean of that many releases."""
    observations = context.observations[preset]
    targets = observations.targets
    if len(targets) < candidates:
        reason = f"{counted(len(targets), 'photo')} cannot make a gallery of {candidates}"
        return NotRun(preset=preset, attack="A6", reason=reason)
    tally = Tally(context.collection.targets.clusters)
    noise_free_answers = observations.says_malignant(observations.target_answers)
    truth = np.arange(candidates)
    for seed in context.noise_seeds(preset):
        observed, logits = observations.observe(seed=seed, releases=releases)
        answers = observations.says_malignant(logits)
        for members in draw_galleries(len(observed), candidates, context.profile.decisions, seed):
            distances = squared_distances(targets[members], observed[members])
            tally.add("top1", members, metrics.top_k(-distances, truth, 1))
            tally.add("top5", members, metrics.top_k(-distances, truth, 5))
            tally.add("assigned", members, assign(distances, seed))
            tally.add("label_only", members, label_only(noise_free_answers[members], answers[members], truth))
    strongest = max(("top1", "assigned"), key=lambda name: tally.rate(name).mean)
    bound = observations.repeated(releases).identification_bound(candidates)
    return IdentificationResult(
        preset=preset,
        attack="A6",
        candidates=candidates,
        releases=releases,
        top1=tally.rate("top1"),
        top5=tally.rate("top5"),
        assigned=tally.rate("assigned"),
        label_only=tally.rate("label_only"),
        paired_difference=tally.paired_difference(strongest, "label_only", MAX_IDENTIFIED),
        certified_bound=rounded_up(bound, 6),
    )


def judge(preset: str, results: Sequence[IdentificationResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """The largest gallery against label-only, unless the bound implies that goal; every gallery against its bound."""
    for r in [r for r in results if r.releases == 1][-1:]:
        limit = MAX_IDENTIFIED * r.label_only.mean
        if r.certified_bound > limit:
            claim = f"A6 top-1 of {r.candidates}, 3 × label-only"
            yield at_most(preset, claim, r.strongest.mean, limit, paired_difference=r.paired_difference)
    for r in results:
        if r.certified_bound < 1:
            releases = counted(r.releases, "release")
            claim = f"A6 top-1 of {r.candidates} from {releases}, certified bound"
            yield at_most(preset, claim, r.top1.low, r.certified_bound)


def _steps(context: AuditContext, preset: str) -> Steps:
    profile = context.profile
    averaged = profile.averaged if context.sigma(preset) else profile.averaged[:1]
    return {f"{n} {k}": partial(run, context, preset, n, k) for n in profile.candidates for k in averaged}


SPEC = AttackSpec(
    id="A6",
    name=gettext_noop("Picking out the photo"),
    description=gettext_noop("Which of 10, 100 or 1,000 photos that the attacker holds does the release belong to?"),
    result_type=IdentificationResult,
    steps=_steps,
    goals=(GoalRule(judge, beyond_picture=True),),
)
