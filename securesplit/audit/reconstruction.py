"""How rebuilt photos are scored and judged, whatever attack rebuilt them.

Every seed's reconstruction stands beside the class mean of the same answers: skill is over its error, SSIM over its
SSIM. A reconstruction is also held against the photos themselves: is the nearest of some hundred the one that it was
made from? A5 shows a device without the same-noise rule; with the rule its k releases are one, so A1 to A4 and A9 are
judged, and own attacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import baselines, metrics
from securesplit.audit.baselines import squared_distances
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import (
    MAX_OWN_ORIGINAL,
    MAX_REBUILT,
    MAX_SKILL,
    MAX_SSIM_GAIN,
    NOT_RUN,
    Goal,
    GoalRule,
    at_most,
)
from securesplit.audit.metrics import Estimate, Photos
from securesplit.audit.results import OMITTED, Column, NotRun, Result
from securesplit.audit.setting import Releases, ShouldContinue
from securesplit.audit.time_budget import TimeBudget
from securesplit.i18n import gettext_noop

GALLERY = 8
"""Photos that the report shows beside what was rebuilt of them."""

Rebuild = Callable[[int, Releases, NDArray[np.bool_], ShouldContinue], Photos]
"""(seed, observed, says malignant, is there time for more?) -> photos."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionResult(Result):
    """How close to the photos an attack came.

    Args:
        baseline: which one, where it is no attack (A0).
        auxiliary_photos: how many of the attacker's photos it was trained on, where that is fixed.
        releases: of how many releases it saw the mean (A5).
        by: with which attack it worked on that.
        search_steps: of Adam, the most of any batch.
        by_package: that brought the attack, where it is an own one.
        photos: how many were rebuilt.
        seeds: of the attacker and of the noise, how many.
        mse: mean squared error.
        skill: over the class mean.
        ssim: structural similarity.
        ssim_gain: above the class mean's, photo by photo.
        picture: file of the first reconstructions.
        own_original: how often the nearest of `originals` photos is the one that was rebuilt; a guess is right once in
            so many.
        originals: of the targets, those that were rebuilt among them.
    """

    kind: ClassVar[str] = "reconstruction"
    title: ClassVar[str] = gettext_noop("Reconstruction (A0 to A5, A9)")
    explanation: ClassVar[str] = gettext_noop(
        "How close to the photo a picture comes that was made from its release. Skill 0 is a guess from the answer "
        "alone, 1 is the photo itself, below 0 is worse than that guess; p95 is the photo that fares worst of 20. "
        "Found among originals says how often the nearest of so many photos is the one that was rebuilt."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("attack", "attack"),
        ("what", "about"),
        ("photos", "photos"),
        ("seeds", "seeds"),
        ("skill", "skill"),
        ("p95", "skill.p95"),
        ("SSIM", "ssim"),
        ("above class mean", "ssim_gain"),
        ("found", "own_original"),
        ("among originals", "originals"),
    )

    baseline: str = field(default="", metadata={"json": "floor"} | OMITTED)
    auxiliary_photos: int | None = field(default=None, metadata={"json": "own_photos"} | OMITTED)
    releases: int | None = field(default=None, metadata=OMITTED)
    by: str = field(default="", metadata=OMITTED)
    search_steps: int | None = field(default=None, metadata={"json": "steps"} | OMITTED)
    by_package: str = field(default="", metadata=OMITTED)
    photos: int
    seeds: int
    mse: float
    skill: Estimate
    ssim: Estimate
    ssim_gain: Estimate
    picture: str
    own_original: Estimate | None = None
    originals: int = 0

    @property
    def about(self) -> str:
        """What sets it apart from other results of the attack, in words."""
        said = {
            "baseline": self.baseline,
            "own photos": self.auxiliary_photos,
            "releases": self.releases,
            "by": self.by,
            "steps": self.search_steps,
            "by package": self.by_package,
            "cut short": self.cut_short,
        }
        return ", ".join(f"{key} {value}" for key, value in said.items() if value not in (None, ""))


def score(
    context: AuditContext,
    preset: str,
    attack: str,
    rebuild: Rebuild,
    *,
    photos: int | None = None,
    apart: bool = False,
    seeded: bool = False,
    budget: TimeBudget | None = None,
    **about: Any,
) -> ReconstructionResult:
    """Run one reconstruction for every seed and score it beside the class mean.

    Args:
        context: the audit.
        preset: what is attacked.
        attack: its id, for the report.
        rebuild: the attack.
        photos: how many targets; None: all that are rebuilt.
        apart: each target meets one of the seeds, for attacks that cost too much to meet all of them.
        seeded: the attack has randomness of its own, so it is run for every seed also where there is no noise.
        budget: the time that it may take, shared by the seeds; None: without a limit.
        about: fields of the result that say what sets this run apart, as ``releases``.
    """
    budget = budget or TimeBudget()
    seeds = context.profile.seeds if seeded or context.sigma(preset) else context.profile.seeds[:1]
    count = min(photos or context.profile.rebuilt, len(context.rebuilt_photos))
    mine = [np.arange(count)[n :: len(seeds)] if apart else np.arange(count) for n in range(len(seeds))]
    rebuilt, means = _rebuilt(context, preset, rebuild, dict(zip(seeds, mine, strict=True)), budget, **about)
    row = np.concatenate(mine)
    picture = "-".join([preset, attack, *(str(value) for value in about.values())]) + ".npz"
    first = np.unique(row, return_index=True)[1][:GALLERY]
    np.savez(context.pictures / picture, rebuilt=rebuilt[first].astype(np.float16))
    truth, clusters = context.rebuilt_photos[row], context.target_clusters(count)
    distances = squared_distances(context.originals, rebuilt)
    similarity, of_means = (_by_photo(metrics.ssim(truth, p), row) for p in (rebuilt, means))
    return ReconstructionResult(
        preset=preset,
        attack=attack,
        **about,
        photos=len(similarity),
        seeds=len(seeds),
        mse=round(float(metrics.mse(truth, rebuilt).mean()), 6),
        skill=metrics.skill(truth, rebuilt, means, clusters[row]),
        ssim=metrics.bootstrap(similarity, clusters),
        ssim_gain=metrics.bootstrap(similarity - of_means, clusters),
        picture=picture,
        own_original=metrics.rate(_by_photo(metrics.top_k(-distances, row, 1), row), clusters),
        originals=distances.shape[1],
        cut_short=budget.shortage,
    )


def _rebuilt(
    context: AuditContext,
    preset: str,
    rebuild: Rebuild,
    targets: dict[int, NDArray[np.intp]],
    budget: TimeBudget,
    *,
    releases: int = 1,
    **_about: Any,
) -> tuple[Photos, Photos]:
    """The rebuilt photos and the class means of the targets that each seed meets, seed after seed."""
    observations, known = context.observations[preset], context.known(preset)
    rebuilt, means = [], []
    for number, (seed, mine) in enumerate(targets.items()):
        observed, logits = observations.observe(seed=seed, releases=releases)
        malignant = observations.says_malignant(logits[mine])
        rebuilt.append(rebuild(seed, observed[mine], malignant, budget.part(len(targets) - number)))
        means.append(baselines.class_mean(known, malignant))
    return np.concatenate(rebuilt), np.concatenate(means)


def _by_photo(values: NDArray[np.float64], row: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean over the seeds that each photo met, so that the bootstrap resamples photos."""
    return np.asarray(np.bincount(row, values) / np.bincount(row))


def judge(preset: str, results: Sequence[ReconstructionResult], missing: Sequence[NotRun]) -> Iterator[Goal]:
    """What may have failed may also have been cut short; what passed may not, and every attack must have run."""
    unfinished = _unfinished(results, missing)
    most_skill, most_ssim_gain = MAX_REBUILT.get(preset, (MAX_SKILL, MAX_SSIM_GAIN))
    measures: list[tuple[str, float, Callable[[ReconstructionResult], float | None]]] = [
        ("best MSE skill over the class mean", most_skill, lambda r: r.skill.mean),
        ("best SSIM above the class mean's", most_ssim_gain, lambda r: r.ssim_gain.mean),
    ]
    if (times := MAX_OWN_ORIGINAL.get(preset)) is not None:
        measures.append(("own original found, times a guess", times, partial(_own_original, times=times)))
    for claim, limit, measure in measures:
        found = [(value, r.attack) for r in results if (value := measure(r)) is not None]
        value, attack = max(found, key=itemgetter(0), default=(None, ""))
        by = "; ".join([*([attack] if attack else []), *unfinished])
        goal = at_most(preset, f"{claim} ({by})", value, limit)
        yield replace(goal, met=None) if goal.met and unfinished else goal


def _own_original(result: ReconstructionResult, times: float) -> float | None:
    """How many times as often as by a guess; at least, where so few photos were rebuilt that one by chance is more."""
    if result.own_original is None:
        return None
    rate, is_few = result.own_original, result.originals > times * result.photos
    return result.originals * (rate.low if is_few else rate.mean)


def _unfinished(results: Sequence[ReconstructionResult], missing: Sequence[NotRun]) -> list[str]:
    """Which attacks had no time to end and which did not run, as words for a claim."""
    short = sorted({r.attack for r in results if r.cut_short})
    absent = sorted({r.attack for r in missing})
    return [f"{', '.join(names)} {what}" for names, what in ((short, "cut short"), (absent, NOT_RUN)) if names]


RECONSTRUCTION = GoalRule(judge, names_missing=True)
"""The strongest reconstruction counts, whichever attack it is of."""
