"""The steps that rebuild photos: A0 to A5."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import goals, metrics
from securesplit.audit.attacks import baselines, decoder, ridge
from securesplit.audit.attacks.optimise import Search, Searcher, Start
from securesplit.audit.attacks.setting import Releases, ShouldContinue
from securesplit.audit.context import AuditContext, Rebuild, Result
from securesplit.audit.observations import AUXILIARY_SEED
from securesplit.audit.time_budget import TimeBudget

FEW_NUMBERS = 16
"""Up to so many numbers A2 and A4 need few steps."""


def a0(context: AuditContext, preset: str, floor: str) -> Result:
    """One of the baselines."""
    known = context.known(preset)
    ways: dict[str, Rebuild] = {
        "mean image": lambda _seed, seen, _answers, _should_continue: baselines.mean_image(known, len(seen)),
        "class mean": lambda _seed, _seen, answers, _should_continue: baselines.class_mean(known, answers),
        "random of class": lambda seed, _seen, answers, _should_continue: baselines.random_of_class(
            known, answers, seed
        ),
        "nearest own photo": lambda _seed, seen, _answers, _should_continue: baselines.nearest(known, seen),
    }
    return context.score(preset, "A0", ways[floor], floor=floor)


BASELINES = ("mean image", "class mean", "random of class", "nearest own photo")


def a1(context: AuditContext, preset: str) -> Result:
    """The ridge inverse."""
    known, sigma = context.known(preset), context.observations[preset].surface.sigma
    return context.score(preset, "A1", lambda seed, seen, *_: ridge.reconstruct(known, seen, sigma, seed))


def a2(context: AuditContext, preset: str, budget: TimeBudget | None = None) -> Result:
    """White-box optimisation."""
    return _search(context, preset, "A2", budget)


def a3(context: AuditContext, preset: str, photos: int, budget: TimeBudget | None = None) -> Result:
    """The trained decoder with that many photos of its own."""
    photos = min(photos, len(context.auxiliary_photos))

    def rebuild(
        seed: int, seen: Releases, _answers: NDArray[np.bool_], should_continue: ShouldContinue
    ) -> metrics.Photos:
        return _decoder(context, preset, photos, seed, should_continue)(seen)

    return context.score(preset, "A3", rebuild, budget=budget, own_photos=photos)


def a4(context: AuditContext, preset: str, budget: TimeBudget | None = None) -> Result:
    """A3's answer, refined by A2."""
    return _search(context, preset, "A4", budget)


def _search(context: AuditContext, preset: str, attack: str, budget: TimeBudget | None) -> Result:
    if context.without_gradients:
        return not_run(preset, attack, context.without_gradients)
    known, surface = context.known(preset), context.observations[preset].surface
    searcher, steps = _searcher(context, preset), []

    def rebuild(
        seed: int, seen: Releases, _answers: NDArray[np.bool_], should_continue: ShouldContinue
    ) -> metrics.Photos:
        start = None
        if attack == "A4":
            decode = _decoder(context, preset, len(known.photos), seed, should_continue)
            _, held_out = ridge.split(known)
            again = decode(surface.observe(held_out.noise_free, seed=AUXILIARY_SEED))
            start = Start(decode(seen), float(metrics.mse(held_out.photos, again).mean()))
        found = searcher.find(seen, start=start, should_continue=should_continue)
        steps.append(found.steps)
        return found.photos

    few = math.prod(known.noise_free.shape[1:]) <= FEW_NUMBERS
    photos = context.profile.search_photos_few if few else context.profile.search_photos
    result = context.score(preset, attack, rebuild, photos=photos, apart=True, budget=budget)
    return result | {"steps": max(steps)}


def _searcher(context: AuditContext, preset: str) -> Searcher:
    """Compiled once for A2 and A4."""
    if preset not in context.searchers:
        surface, search = context.observations[preset].surface, Search(steps=context.profile.search_steps)
        context.searchers[preset] = Searcher(context.white_box, surface, context.known(preset), search)
    return context.searchers[preset]


def _decoder(
    context: AuditContext, preset: str, photos: int, seed: int, should_continue: ShouldContinue
) -> ridge.Predictor:
    """A3's decoder, trained once for A3 and A4."""
    key = (preset, photos, seed)
    if key not in context.decoders:
        known, sigma = context.known(preset).first(photos), context.observations[preset].surface.sigma
        context.decoders[key] = decoder.fit(
            known, sigma, seed, updates=context.profile.decoder_updates, should_continue=should_continue
        )
    return context.decoders[key]


def a5(context: AuditContext, preset: str, releases: int, budget: TimeBudget | None = None) -> Result:
    """A1 and A3 on the mean of several independent releases, as if the same-noise rule were off; the better counts."""
    known, surface = context.known(preset), context.observations[preset].surface
    sigma = surface.sigma_of_mean(releases)

    def by_ridge(
        seed: int, seen: Releases, _answers: NDArray[np.bool_], _should_continue: ShouldContinue
    ) -> metrics.Photos:
        return ridge.reconstruct(known, seen, sigma, seed)

    def by_decoder(
        seed: int, seen: Releases, _answers: NDArray[np.bool_], should_continue: ShouldContinue
    ) -> metrics.Photos:
        return decoder.fit(
            known, sigma, seed, updates=context.profile.decoder_updates, should_continue=should_continue
        )(seen)

    ways = [
        context.score(preset, "A5", by_ridge, releases=releases, by="ridge"),
        context.score(preset, "A5", by_decoder, budget=budget, releases=releases, by="decoder"),
    ]
    cut_short = {key: value for way in ways for key, value in way.items() if key == "cut_short"}
    return max(ways, key=lambda result: float(result["skill"]["mean"])) | cut_short


def not_run(preset: str, attack: str, reason: str) -> Result:
    """A step that could not run says so in the report."""
    return {"kind": goals.NOT_RUN, "preset": preset, "attack": attack, "reason": reason}


def left_out(preset: str, attack: str, reason: str) -> Result:
    """A step that is no part of such an audit: it is named, and no goal waits for it."""
    return not_run(preset, attack, reason) | {"left_out": True}


def _without_search(context: AuditContext, preset: str) -> str:
    """Why A2 and A4 are no part of the audit of that preset; empty where they are."""
    if not context.profile.search_photos:
        return f"not part of the {context.profile.name} audit"
    return "an own release mechanism has no gradients" if context.observations[preset].grids is not None else ""


def steps(context: AuditContext, preset: str) -> dict[str, Callable[[], Result]]:
    """Every reconstruction step of one preset that takes what it takes, by name."""
    found: dict[str, Callable[[], Result]] = {
        f"{preset} A0 {floor}": partial(a0, context, preset, floor) for floor in BASELINES
    }
    found[f"{preset} A1"] = partial(a1, context, preset)
    if reason := _without_search(context, preset):
        for attack in ("A2", "A4"):
            found[f"{preset} {attack}"] = partial(left_out, preset, attack, reason)
    return found


@dataclass(frozen=True)
class AnytimeStep:
    """A step that could always go on.

    Args:
        weight: of its share of the audit's time, beside the others'.
        run: takes what it is allowed.
    """

    weight: float
    run: Callable[[TimeBudget], Result]


DECODER, SEARCH = 1.0, 3.0
"""Weights of one decoder's training and of one search: what they were measured to take, roughly."""


def anytime_steps(context: AuditContext, preset: str) -> dict[str, AnytimeStep]:
    """The others, by name; the searches first."""
    profile, found = context.profile, {}
    for photos in profile.decoder_photos:
        found[f"{preset} A3 {photos}"] = AnytimeStep(DECODER, partial(a3, context, preset, photos))
    if not _without_search(context, preset):
        found[f"{preset} A2"] = AnytimeStep(SEARCH, partial(a2, context, preset))
        found[f"{preset} A4"] = AnytimeStep(SEARCH, partial(a4, context, preset))
    if context.observations[preset].surface.sigma:
        for releases in profile.averaged[1:]:
            found[f"{preset} A5 {releases}"] = AnytimeStep(DECODER, partial(a5, context, preset, releases))
    return found
