"""The steps that rebuild photos: A0 to A5."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import goals, metrics
from securesplit.audit.attacks import decoder, floors, ridge
from securesplit.audit.attacks.optimise import Search, Searcher, Start
from securesplit.audit.attacks.setting import More, Releases
from securesplit.audit.context import Bench, Rebuild, Result
from securesplit.audit.observations import OWN_SEED
from securesplit.audit.time_budget import Allowance

FEW_NUMBERS = 16
"""Up to so many numbers A2 and A4 need few steps."""


def a0(bench: Bench, preset: str, floor: str) -> Result:
    """One of the floors."""
    known = bench.known(preset)
    ways: dict[str, Rebuild] = {
        "mean image": lambda _seed, seen, _answers, _more: floors.mean_image(known, len(seen)),
        "class mean": lambda _seed, _seen, answers, _more: floors.class_mean(known, answers),
        "random of class": lambda seed, _seen, answers, _more: floors.random_of_class(known, answers, seed),
        "nearest own photo": lambda _seed, seen, _answers, _more: floors.nearest(known, seen),
    }
    return bench.score(preset, "A0", ways[floor], floor=floor)


FLOORS = ("mean image", "class mean", "random of class", "nearest own photo")


def a1(bench: Bench, preset: str) -> Result:
    """The ridge inverse."""
    known, sigma = bench.known(preset), bench.exposed[preset].surface.sigma
    return bench.score(preset, "A1", lambda seed, seen, *_: ridge.reconstruct(known, seen, sigma, seed))


def a2(bench: Bench, preset: str, allowance: Allowance | None = None) -> Result:
    """White-box optimisation."""
    return _search(bench, preset, "A2", allowance)


def a3(bench: Bench, preset: str, photos: int, allowance: Allowance | None = None) -> Result:
    """The trained decoder with that many photos of its own."""
    photos = min(photos, len(bench.own_photos))

    def rebuild(seed: int, seen: Releases, _answers: NDArray[np.bool_], more: More) -> metrics.Photos:
        return _decoder(bench, preset, photos, seed, more)(seen)

    return bench.score(preset, "A3", rebuild, allowance=allowance, own_photos=photos)


def a4(bench: Bench, preset: str, allowance: Allowance | None = None) -> Result:
    """A3's answer, refined by A2."""
    return _search(bench, preset, "A4", allowance)


def _search(bench: Bench, preset: str, attack: str, allowance: Allowance | None) -> Result:
    if bench.without_gradients:
        return not_run(preset, attack, bench.without_gradients)
    known, surface = bench.known(preset), bench.exposed[preset].surface
    searcher, steps = _searcher(bench, preset), []

    def rebuild(seed: int, seen: Releases, _answers: NDArray[np.bool_], more: More) -> metrics.Photos:
        start = None
        if attack == "A4":
            decode = _decoder(bench, preset, len(known.photos), seed, more)
            _, held_out = ridge.split(known)
            again = decode(surface.observe(held_out.clean, seed=OWN_SEED))
            start = Start(decode(seen), float(metrics.mse(held_out.photos, again).mean()))
        found = searcher.find(seen, start=start, more=more)
        steps.append(found.steps)
        return found.photos

    few = math.prod(known.clean.shape[1:]) <= FEW_NUMBERS
    photos = bench.effort.search_photos_few if few else bench.effort.search_photos
    result = bench.score(preset, attack, rebuild, photos=photos, apart=True, allowance=allowance)
    return result | {"steps": max(steps)}


def _searcher(bench: Bench, preset: str) -> Searcher:
    """Compiled once for A2 and A4."""
    if preset not in bench.searchers:
        surface, search = bench.exposed[preset].surface, Search(steps=bench.effort.search_steps)
        bench.searchers[preset] = Searcher(bench.white_box, surface, bench.known(preset), search)
    return bench.searchers[preset]


def _decoder(bench: Bench, preset: str, photos: int, seed: int, more: More) -> ridge.Predictor:
    """A3's decoder, trained once for A3 and A4."""
    key = (preset, photos, seed)
    if key not in bench.decoders:
        known, sigma = bench.known(preset).first(photos), bench.exposed[preset].surface.sigma
        bench.decoders[key] = decoder.fit(known, sigma, seed, updates=bench.effort.decoder_updates, more=more)
    return bench.decoders[key]


def a5(bench: Bench, preset: str, releases: int, allowance: Allowance | None = None) -> Result:
    """A1 and A3 on the mean of several independent releases, as if the same-noise rule were off; the better counts."""
    known, surface = bench.known(preset), bench.exposed[preset].surface
    sigma = surface.sigma_of_mean(releases)

    def by_ridge(seed: int, seen: Releases, _answers: NDArray[np.bool_], _more: More) -> metrics.Photos:
        return ridge.reconstruct(known, seen, sigma, seed)

    def by_decoder(seed: int, seen: Releases, _answers: NDArray[np.bool_], more: More) -> metrics.Photos:
        return decoder.fit(known, sigma, seed, updates=bench.effort.decoder_updates, more=more)(seen)

    ways = [
        bench.score(preset, "A5", by_ridge, releases=releases, by="ridge"),
        bench.score(preset, "A5", by_decoder, allowance=allowance, releases=releases, by="decoder"),
    ]
    cut_short = {key: value for way in ways for key, value in way.items() if key == "cut_short"}
    return max(ways, key=lambda result: float(result["skill"]["mean"])) | cut_short


def not_run(preset: str, attack: str, reason: str) -> Result:
    """A step that could not run says so in the report."""
    return {"kind": goals.NOT_RUN, "preset": preset, "attack": attack, "reason": reason}


def left_out(preset: str, attack: str, reason: str) -> Result:
    """A step that is no part of such an audit: it is named, and no goal waits for it."""
    return not_run(preset, attack, reason) | {"left_out": True}


def _without_search(bench: Bench, preset: str) -> str:
    """Why A2 and A4 are no part of the audit of that preset; empty where they are."""
    if not bench.effort.search_photos:
        return f"not part of the {bench.effort.name} audit"
    return "an own release mechanism has no gradients" if bench.exposed[preset].grids is not None else ""


def steps(bench: Bench, preset: str) -> dict[str, Callable[[], Result]]:
    """Every reconstruction step of one preset that takes what it takes, by name."""
    found: dict[str, Callable[[], Result]] = {
        f"{preset} A0 {floor}": partial(a0, bench, preset, floor) for floor in FLOORS
    }
    found[f"{preset} A1"] = partial(a1, bench, preset)
    if reason := _without_search(bench, preset):
        for attack in ("A2", "A4"):
            found[f"{preset} {attack}"] = partial(left_out, preset, attack, reason)
    return found


@dataclass(frozen=True)
class Endless:
    """A step that could always go on.

    Args:
        weight: of its share of the audit's time, beside the others'.
        run: takes what it is allowed.
    """

    weight: float
    run: Callable[[Allowance], Result]


DECODER, SEARCH = 1.0, 3.0
"""Weights of one decoder's training and of one search: what they were measured to take, roughly."""


def endless_steps(bench: Bench, preset: str) -> dict[str, Endless]:
    """The others, by name; the searches first."""
    effort, found = bench.effort, {}
    for photos in effort.decoder_photos:
        found[f"{preset} A3 {photos}"] = Endless(DECODER, partial(a3, bench, preset, photos))
    if not _without_search(bench, preset):
        found[f"{preset} A2"] = Endless(SEARCH, partial(a2, bench, preset))
        found[f"{preset} A4"] = Endless(SEARCH, partial(a4, bench, preset))
    if bench.exposed[preset].surface.sigma:
        for releases in effort.averaged[1:]:
            found[f"{preset} A5 {releases}"] = Endless(DECODER, partial(a5, bench, preset, releases))
    return found
