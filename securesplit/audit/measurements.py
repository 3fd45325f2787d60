"""What is measured of every preset beside the attacks: what it is and costs, and the frontier of accuracy and leakage.

To the registry these are specs like the attacks', without a name in the legend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from securesplit.audit import baselines, goals, metrics
from securesplit.audit.attack import AttackSpec, Steps, one_step
from securesplit.audit.attacks import identification, ridge
from securesplit.audit.baselines import squared_distances
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import Goal, GoalRule, at_most
from securesplit.audit.metrics import Estimate, Tally
from securesplit.audit.observations import Answers, Observations, defence_ms, distinct_releases
from securesplit.audit.results import SUMMARY, Column, NotRun, Result
from securesplit.channel.payload import REQUEST_OVERHEAD_BYTES
from securesplit.encrypted.messages import REQUEST_BYTES
from securesplit.i18n import gettext_noop
from securesplit.model.encrypted_preset import PRESET
from securesplit.privacy import accounting
from securesplit.privacy.release import ReleaseSpec
from securesplit.text import rounded_up


@dataclass(frozen=True, kw_only=True)
class SummaryResult(Result):
    """What a preset is: its size, its promise, its accuracy here, and what the defence costs.

    Args:
        shape: of a release.
        dtype: of its numbers.
        request_bytes: what a request weighs.
        sigma_per_clip: σ/C.
        epsilon: of one release, at `delta`; None: unbounded.
        delta: None where ε is unbounded.
        auc: of the tail's answers; None without labels of both kinds.
        auc_lost: against the undefended preset, on the same photos; None where either is unknown.
        defence_ms: median time that the defence takes.
        distinct_releases_of_64: diagnoses of one photo.
    """

    kind: ClassVar[str] = SUMMARY
    title: ClassVar[str] = gettext_noop("Presets")
    explanation: ClassVar[str] = gettext_noop(
        "What each preset sends and promises. ε is the strength of its noise in differential privacy, smaller is "
        "stronger; AUC says how good its answers are, 0.5 is chance and 1 is perfect."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("shape", "shape"),
        ("bytes", "request_bytes"),
        ("σ/C", "sigma_per_clip"),
        ("ε at δ = 1e-5", "epsilon"),
        ("AUC", "auc"),
        ("defence ms", "defence_ms"),
    )

    shape: tuple[int, ...]
    dtype: str
    request_bytes: int
    sigma_per_clip: float
    epsilon: float | None
    delta: float | None
    auc: Estimate | None
    auc_lost: Estimate | None
    defence_ms: float
    distinct_releases_of_64: int


def summary(context: AuditContext, preset: str) -> SummaryResult:
    """Of one preset."""
    observations, photos = context.observations[preset], context.collection.targets.pixels
    spec, loss = observations.preset.spec, observations.loss
    bounded = math.isfinite(loss.rho)
    return SummaryResult(
        preset=preset,
        shape=spec.shape,
        dtype=spec.dtype,
        request_bytes=payload_bytes(spec) + REQUEST_OVERHEAD_BYTES,
        sigma_per_clip=spec.sigma_per_clip,
        epsilon=rounded_up(loss.epsilon(), 4) if bounded else None,
        delta=accounting.DELTA if bounded else None,
        auc=auc(context, observations),
        auc_lost=auc_lost(context, observations),
        defence_ms=round(defence_ms(context.bundle, observations, photos), 3),
        distinct_releases_of_64=distinct_releases(context.bundle, observations, photos[0]),
    )


def payload_bytes(spec: ReleaseSpec) -> int:
    """Of one photo's release, as it travels."""
    if spec.encrypted:
        return REQUEST_BYTES
    return spec.size * np.dtype(spec.dtype).itemsize


def auc(context: AuditContext, observations: Observations) -> Estimate | None:
    """AUC of the tail's answers to the targets' releases with its interval; None without labels of both kinds."""
    labels = context.collection.targets.malignant
    if labels is None or len(np.unique(labels)) == 1:
        return None
    clusters = context.collection.targets.clusters
    return metrics.averaged(
        [metrics.auc_interval(labels, logits, clusters) for logits in _answers(context, observations)]
    )


def auc_lost(context: AuditContext, observations: Observations) -> Estimate | None:
    """How much less that is than the undefended preset's AUC on the same photos; None where either is unknown."""
    labels, undefended = context.collection.targets.malignant, context.observations.get(goals.UNDEFENDED)
    if labels is None or undefended is None or len(np.unique(labels)) == 1:
        return None
    clusters = context.collection.targets.clusters
    lost = metrics.auc_lost(labels, undefended.target_answers, _answers(context, observations), clusters)
    return metrics.averaged([lost])


def _answers(context: AuditContext, observations: Observations) -> list[Answers]:
    """To every target, for each draw of the noise, as its device reads them."""
    return [observations.of_client.observe(seed=seed)[1] for seed in observations.seeds(context.profile.draws)]


def judge_accuracy(preset: str, results: Sequence[SummaryResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """Against the undefended preset."""
    for r in results:
        lost = r.auc_lost
        goal = at_most(preset, "AUC lost against undefended", lost.mean if lost else None, goals.MAX_AUC_LOSS)
        yield replace(goal, paired_difference=lost and lost.less(goals.MAX_AUC_LOSS))


def judge_costs(preset: str, results: Sequence[SummaryResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """What a device promises whatever the preset is, and the size of a request for all but the undefended map."""
    for r in results:
        most = goals.MAX_ENCRYPTED_BYTES if preset == PRESET else goals.MAX_REQUEST_BYTES
        size = at_most(preset, "request in bytes", float(r.request_bytes), most)
        yield replace(size, promised=preset != goals.UNDEFENDED)
        yield at_most(preset, "defence in ms", r.defence_ms, goals.MAX_DEFENCE_MS)
        distinct = float(r.distinct_releases_of_64)
        yield at_most(preset, "distinct releases of 64 diagnoses of a photo", distinct, 1.0)


@dataclass(frozen=True, kw_only=True)
class FrontierResult(Result):
    """Accuracy against leakage at one strength of the noise.

    Args:
        shipped: it is the preset's own noise.
        epsilon: of one release; None: unbounded.
        sigma_per_clip: σ/C.
        auc: of the tail's answers; None without labels of both kinds.
        candidates: of the gallery.
        identified: how often A6's first guess is right.
        certified_bound: of that.
        ridge_skill: A1's, over the class mean.
    """

    kind: ClassVar[str] = "frontier"
    title: ClassVar[str] = gettext_noop("Frontier")
    explanation: ClassVar[str] = gettext_noop("What more noise would cost in accuracy, and what it would hide.")
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("shipped", "shipped"),
        ("ε", "epsilon"),
        ("σ/C", "sigma_per_clip"),
        ("AUC", "auc"),
        ("N", "candidates"),
        ("identified", "identified"),
        ("certified bound", "certified_bound"),
        ("A1 skill", "ridge_skill"),
    )

    shipped: bool
    epsilon: float | None
    sigma_per_clip: float
    auc: Estimate | None
    candidates: int
    identified: Estimate
    certified_bound: float
    ridge_skill: Estimate


def frontier(context: AuditContext, preset: str, epsilon: float | None) -> FrontierResult:
    """One point, at the preset's own noise or at that of another ε."""
    shipped = context.observations[preset]
    spec = shipped.preset.spec if epsilon is None else shipped.preset.spec.with_epsilon(epsilon)
    observations = replace(shipped, preset=replace(shipped.preset, spec=spec))
    targets = len(observations.targets)
    candidates = max((n for n in context.profile.candidates if n <= targets), default=targets)
    return FrontierResult(
        preset=preset,
        shipped=epsilon is None,
        epsilon=rounded_up(observations.loss.epsilon(), 4) if math.isfinite(observations.loss.rho) else None,
        sigma_per_clip=spec.sigma_per_clip,
        auc=auc(context, observations),
        candidates=candidates,
        identified=_identified(context, observations, candidates),
        certified_bound=rounded_up(observations.loss.identification_bound(candidates), 6),
        ridge_skill=_ridge_skill(context, observations),
    )


def _identified(context: AuditContext, observations: Observations, candidates: int) -> Estimate:
    """A6 from one release."""
    tally = Tally(context.collection.targets.clusters)
    for seed in observations.seeds(context.profile.draws):
        observed, _ = observations.observe(seed=seed)
        for members in identification.draw_galleries(len(observed), candidates, context.profile.decisions, seed):
            distances = squared_distances(observations.targets[members], observed[members])
            tally.add("top1", members, metrics.top_k(-distances, np.arange(candidates), 1))
    return tally.rate("top1")


def _ridge_skill(context: AuditContext, observations: Observations) -> Estimate:
    """A1 by one seed."""
    seed, most = context.profile.seeds[0], context.profile.rebuilt
    observed, logits = observations.observe(seed=seed)
    known = observations.known(context.auxiliary_photos)
    rebuilt = ridge.reconstruct(known, observed[:most], observations.surface.sigma, seed)
    means = baselines.class_mean(known, observations.says_malignant(logits[:most]))
    return metrics.skill(context.rebuilt_photos, rebuilt, means, context.target_clusters(len(rebuilt)))


def _frontier_steps(context: AuditContext, preset: str) -> Steps:
    noisy = bool(context.observations[preset].preset.spec.sigma_squared)
    others = {f"{epsilon:g}": epsilon for epsilon in context.profile.epsilons if noisy}
    return {name: partial(frontier, context, preset, epsilon) for name, epsilon in ({"shipped": None} | others).items()}


SUMMARY_SPEC = AttackSpec(
    id=SUMMARY,
    result_type=SummaryResult,
    steps=one_step(summary),
    goals=(GoalRule(judge_accuracy), GoalRule(judge_costs, about_photo=False)),
)
FRONTIER_SPEC = AttackSpec(id="frontier", result_type=FrontierResult, steps=_frontier_steps)
