"""The steps that rebuild photos: the positive control, A0 to A5."""

from __future__ import annotations

import importlib.util
import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.bench import Bench, Rebuild, Result, as_photos
from securesplit.audit.exposure import OWN_SEED
from securesplit.privacy import metrics
from securesplit.privacy.attacks import decoder, floors, graph, optimise, patches, ridge
from securesplit.privacy.attacks.optimise import Search, Start
from securesplit.privacy.attacks.setting import Known, Releases
from securesplit.privacy.attacks.whitebox import WhiteBox

CONTROL_OWN, CONTROL_VICTIMS = 48, 16
"""Photos of the positive control."""
FEW_NUMBERS = 16
"""Up to so many numbers A2 and A4 need few steps."""
CONTROL_SSIM = 0.9
"""What the same code must reach on the undefended stem, or the audit is void."""


def control(bench: Bench) -> Result:
    """A1 on the undefended stem of the very head that is audited, at the stem's own resolution."""
    own = bench.collection.own.pixels[:CONTROL_OWN]
    victims = bench.collection.victims.pixels[:CONTROL_VICTIMS]
    maps, seen = graph.stem_maps(bench.head, own), graph.stem_maps(bench.head, victims)
    side = maps.shape[1]
    known = Known(as_photos(own, side), maps, np.zeros(len(own), bool))
    truth = as_photos(victims, side)
    rebuilt = ridge.reconstruct(known, seen, 0.0, bench.effort.seeds[0])
    np.savez(bench.pictures / "control.npz", rebuilt=patches.resize(rebuilt[:8], 64).astype(np.float16))
    floor = floors.mean_image(known, len(victims))
    return {
        "kind": "control",
        "attack": "A1",
        "surface": f"stem {tuple(maps.shape[1:])}",
        "photos": len(victims),
        "ssim": metrics.bootstrap(metrics.ssim(truth, rebuilt)).to_json(),
        "ssim_floor": round(float(metrics.ssim(truth, floor).mean()), 5),
        "mse": round(float(metrics.mse(truth, rebuilt).mean()), 6),
        "needed": CONTROL_SSIM,
        "picture": "control.npz",
    }


def a0(bench: Bench, preset: str, floor: str) -> Result:
    """One of the floors."""
    known = bench.known(preset)
    ways: dict[str, Rebuild] = {
        "mean image": lambda _seed, seen, _answers: floors.mean_image(known, len(seen)),
        "class mean": lambda _seed, _seen, answers: floors.class_mean(known, answers),
        "random of class": lambda seed, _seen, answers: floors.random_of_class(known, answers, seed),
        "nearest own photo": lambda _seed, seen, _answers: floors.nearest(known, seen),
    }
    return bench.score(preset, "A0", ways[floor], floor=floor)


FLOORS = ("mean image", "class mean", "random of class", "nearest own photo")


def a1(bench: Bench, preset: str) -> Result:
    """The ridge inverse."""
    known, sigma = bench.known(preset), bench.exposed[preset].surface.sigma
    return bench.score(preset, "A1", lambda seed, seen, _: ridge.reconstruct(known, seen, sigma, seed))


def a2(bench: Bench, preset: str) -> Result:
    """White-box optimisation."""
    return _search(bench, preset, "A2")


def a3(bench: Bench, preset: str, photos: int) -> Result:
    """The trained decoder with that many photos of its own."""
    photos = min(photos, len(bench.own_photos))
    return bench.score(
        preset, "A3", lambda seed, seen, _: _decoder(bench, preset, photos, seed)(seen), own_photos=photos
    )


def a4(bench: Bench, preset: str) -> Result:
    """A3's answer, refined by A2."""
    return _search(bench, preset, "A4")


def _search(bench: Bench, preset: str, attack: str) -> Result:
    if importlib.util.find_spec("tensorflow") is None:
        return not_run(preset, attack, "needs TensorFlow for the head's gradients: pip install 'securesplit[train]'")
    box = WhiteBox(bench.head)
    known, surface = bench.known(preset), bench.exposed[preset].surface
    effort = bench.effort
    search = Search(steps=effort.search_steps)

    few = math.prod(known.clean.shape[1:]) <= FEW_NUMBERS

    def rebuild(seed: int, seen: Releases, _answers: NDArray[np.bool_]) -> metrics.Photos:
        start = None
        if attack == "A4":
            decode = _decoder(bench, preset, len(known.photos), seed)
            _, held_out = ridge.split(known)
            again = decode(surface.observe(held_out.clean, seed=OWN_SEED))
            start = Start(decode(seen), float(metrics.mse(held_out.photos, again).mean()))
        return optimise.reconstruct(box, surface, known, seen, search=search, start=start)

    photos = effort.search_photos_few if few else effort.search_photos
    return bench.score(preset, attack, rebuild, photos=photos, apart=True, steps=effort.search_steps)


def _decoder(bench: Bench, preset: str, photos: int, seed: int) -> ridge.Predictor:
    """A3's decoder, trained once for A3 and A4."""
    key = (preset, photos, seed)
    if key not in bench.decoders:
        known, sigma = bench.known(preset).first(photos), bench.exposed[preset].surface.sigma
        bench.decoders[key] = decoder.fit(known, sigma, seed, updates=bench.effort.decoder_updates)
    return bench.decoders[key]


def a5(bench: Bench, preset: str, releases: int) -> Result:
    """A1 and A3 on the mean of several independent releases, as if the same-noise rule were off; the better counts."""
    known, surface = bench.known(preset), bench.exposed[preset].surface
    sigma = surface.sigma_of_mean(releases)

    def by_decoder(seed: int, seen: Releases, _answers: NDArray[np.bool_]) -> metrics.Photos:
        return decoder.fit(known, sigma, seed, updates=bench.effort.decoder_updates)(seen)

    ways = {
        "ridge": bench.score(
            preset, "A5", lambda s, seen, _: ridge.reconstruct(known, seen, sigma, s), releases=releases, by="ridge"
        ),
        "decoder": bench.score(preset, "A5", by_decoder, releases=releases, by="decoder"),
    }
    return max(ways.values(), key=lambda result: result["skill"]["mean"])


def not_run(preset: str, attack: str, reason: str) -> Result:
    """A step that could not run says so in the report."""
    return {"kind": "not run", "preset": preset, "attack": attack, "reason": reason}


def steps(bench: Bench, preset: str) -> dict[str, partial[Result]]:
    """Every reconstruction step of one preset, by name."""
    effort = bench.effort
    found = {f"{preset} A0 {floor}": partial(a0, bench, preset, floor) for floor in FLOORS}
    found[f"{preset} A1"] = partial(a1, bench, preset)
    for photos in effort.decoder_photos:
        found[f"{preset} A3 {photos}"] = partial(a3, bench, preset, photos)
    for attack, run in (("A2", a2), ("A4", a4)):
        found[f"{preset} {attack}"] = (
            partial(run, bench, preset)
            if effort.search_photos
            else partial(not_run, preset, attack, f"not part of the {effort.name} audit")
        )
    if bench.exposed[preset].surface.sigma:
        for releases in effort.averaged[1:]:
            found[f"{preset} A5 {releases}"] = partial(a5, bench, preset, releases)
    return found
