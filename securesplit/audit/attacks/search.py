"""A2 and A4: the search of `securesplit.audit.attacks.optimise`, from the mean photo and from A3's answer."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.attack import AnytimeStep, AttackSpec, Steps
from securesplit.audit.attacks import decoder, ridge, whitebox
from securesplit.audit.attacks.optimise import Search, Searcher, Start
from securesplit.audit.attacks.whitebox import WhiteBox
from securesplit.audit.context import AuditContext
from securesplit.audit.observations import AUXILIARY_SEED
from securesplit.audit.reconstruction import RECONSTRUCTION, ReconstructionResult, score
from securesplit.audit.results import NotRun
from securesplit.audit.setting import Releases, ShouldContinue
from securesplit.audit.time_budget import TimeBudget
from securesplit.i18n import gettext_noop

FEW_NUMBERS = 16
"""Releases of up to so many numbers are found in few steps."""
WEIGHT = 3.0
"""Of one search: what it was measured to take beside a decoder's training, roughly."""


def white_box(context: AuditContext, preset: str | None = None) -> WhiteBox:
    """The deployed head of a preset, or the common one, with gradients; needs TensorFlow."""
    head = context.head_of(preset)
    return context.keep(("white box", head), lambda: WhiteBox(head))


def without_gradients(context: AuditContext, preset: str | None = None) -> str:
    """Why A2 and A4 cannot run against this head; empty where they can."""
    head = context.head_of(preset)
    return context.keep(("without gradients", head), lambda: whitebox.missing(head))


def a2(context: AuditContext, preset: str, budget: TimeBudget | None = None) -> ReconstructionResult | NotRun:
    """White-box optimisation."""
    return _search(context, preset, "A2", budget)


def a4(context: AuditContext, preset: str, budget: TimeBudget | None = None) -> ReconstructionResult | NotRun:
    """A3's answer, refined by A2."""
    return _search(context, preset, "A4", budget)


def _search(
    context: AuditContext, preset: str, attack: str, budget: TimeBudget | None
) -> ReconstructionResult | NotRun:
    if reason := without_gradients(context, preset):
        return NotRun(preset=preset, attack=attack, reason=reason)
    searcher, steps, budget = _searcher(context, preset), [], budget or TimeBudget()

    def rebuild(seed: int, seen: Releases, _: NDArray[np.bool_], should_continue: ShouldContinue) -> metrics.Photos:
        start = start_of(context, preset, seed, seen, budget, should_continue) if attack == "A4" else None
        found = searcher.find(seen, start=start, should_continue=should_continue)
        steps.append(found.steps)
        return found.photos

    few = math.prod(context.known(preset).noise_free.shape[1:]) <= FEW_NUMBERS
    photos = context.profile.search_photos_few if few else context.profile.search_photos
    result = score(context, preset, attack, rebuild, photos=photos, apart=True, budget=budget)
    return replace(result, search_steps=max(steps))


def start_of(
    context: AuditContext,
    preset: str,
    seed: int,
    seen: Releases,
    budget: TimeBudget,
    should_continue: ShouldContinue,
) -> Start:
    """A3's answer, and its error on photos that it was not fitted to; for the arguments see `decoder.of`."""
    known, surface = context.known(preset), context.observations[preset].surface
    decode = decoder.of(context, preset, len(known.photos), seed, budget, should_continue)
    held_out = ridge.split(known)[1]
    again = decode(surface.observe(held_out.noise_free, seed=AUXILIARY_SEED))
    return Start(decode(seen), float(metrics.mse(held_out.photos, again).mean()))


def _searcher(context: AuditContext, preset: str) -> Searcher:
    """Compiled once for A2 and A4."""

    def make() -> Searcher:
        search = Search(steps=context.profile.search_steps)
        return Searcher(white_box(context, preset), context.observations[preset].surface, context.known(preset), search)

    return context.keep(("searcher", preset), make)


def _left_out(context: AuditContext, preset: str) -> str:
    """Why A2 and A4 are no part of the audit of that preset; empty where they are."""
    if not context.profile.search_photos:
        return f"not part of the {context.profile.name} audit"
    if context.observations[preset].preset.spec.encrypted:
        return "a ciphertext has no gradients by the photo"
    return "an own release mechanism has no gradients" if context.observations[preset].grids is not None else ""


def _steps(context: AuditContext, preset: str, *, attack: str) -> Steps:
    if reason := _left_out(context, preset):
        return {"": partial(NotRun, preset=preset, attack=attack, reason=reason, left_out=True)}
    return {"": AnytimeStep(WEIGHT, partial({"A2": a2, "A4": a4}[attack], context, preset))}


def _spec(attack: str, name: str, description: str) -> AttackSpec:
    steps = partial(_steps, attack=attack)
    return AttackSpec(attack, ReconstructionResult, steps, (RECONSTRUCTION,), name=name, description=description)


A2 = _spec(
    "A2",
    gettext_noop("Search"),
    gettext_noop("Changes a picture step by step until the head makes the same release of it."),
)
A4 = _spec("A4", gettext_noop("Decoder, then search"), gettext_noop("What A3 shows, improved by A2."))
