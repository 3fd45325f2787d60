"""A5: A1 and A3 on the mean of several independent releases, as if the same-noise rule were off."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.attack import AnytimeStep, AttackSpec, Steps
from securesplit.audit.attacks import decoder, ridge
from securesplit.audit.context import AuditContext
from securesplit.audit.metrics import Photos
from securesplit.audit.reconstruction import ReconstructionResult, score
from securesplit.audit.setting import Releases, ShouldContinue
from securesplit.audit.time_budget import TimeBudget
from securesplit.i18n import gettext_noop


def run(context: AuditContext, preset: str, releases: int, budget: TimeBudget | None = None) -> ReconstructionResult:
    """By ridge and by decoder; the better one counts."""
    known, sigma = context.known(preset), context.observations[preset].surface.sigma_of_mean(releases)

    def by_ridge(seed: int, seen: Releases, *_: object) -> Photos:
        return ridge.reconstruct(known, seen, sigma, seed)

    def by_decoder(seed: int, seen: Releases, _: NDArray[np.bool_], should_continue: ShouldContinue) -> Photos:
        updates = context.profile.decoder_updates
        return decoder.fit(known, sigma, seed, updates=updates, should_continue=should_continue)(seen)

    ways = [
        score(context, preset, "A5", by_ridge, releases=releases, by="ridge"),
        score(context, preset, "A5", by_decoder, budget=budget, releases=releases, by="decoder"),
    ]
    best = max(ways, key=lambda result: result.skill.mean)
    return replace(best, cut_short="".join(result.cut_short for result in ways))


def _steps(context: AuditContext, preset: str) -> Steps:
    averaged = context.profile.averaged[1:] if context.sigma(preset) else ()
    if context.observations[preset].preset.spec.encrypted:
        averaged = context.profile.averaged[1:2]
    return {str(n): AnytimeStep(decoder.WEIGHT, partial(run, context, preset, n)) for n in averaged}


SPEC = AttackSpec(
    id="A5",
    name=gettext_noop("Averaging"),
    description=gettext_noop(
        "Rebuilds from the mean of many releases of one photo, as if each had noise of its own. A real device "
        "sends the same release again, so this shows what that rule is for."
    ),
    result_type=ReconstructionResult,
    steps=_steps,
)
