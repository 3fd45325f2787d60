"""A finished audit with one result of every kind, made up, for tests of what is written about it."""

from __future__ import annotations

import io
from dataclasses import MISSING, fields
from typing import Any

from PIL import Image

from securesplit.audit import registry
from securesplit.audit.judge import JudgedAudit, judged
from securesplit.audit.metrics import Estimate
from securesplit.audit.results import Audit, PhotosUsed, Result, json_name


def estimate(value: float) -> Estimate:
    return Estimate(value, value, value, value)


def typed(result: dict[str, Any]) -> Result:
    """The result of that kind, by the names of ``audit.json``; fields that it does not name are nothing."""
    kind = next(kind for kind in registry.kinds() if kind.kind == result["kind"])
    nothing = {"Estimate": estimate(0.0), "str": "", "tuple[int, ...]": ()}
    unnamed = [each for each in fields(kind) if each.default is MISSING and json_name(each) not in result]
    return kind.from_json(result | {json_name(each): nothing.get(str(each.type), 0) for each in unnamed})


def audit_of(claims: dict[str, str], *results: dict[str, Any]) -> Audit:
    """An audit of presets with these claims."""
    return Audit(
        bundle_name="a <bundle>",
        bundle_id="sha256:" + "0" * 64,
        profile="quick",
        minutes=5.0,
        photos=PhotosUsed("ham10000", 1000, 1000, 200, 64),
        presets=tuple(claims),
        claims=claims,
        results=tuple(map(typed, results)),
    )


CONTROL = {
    "kind": "control",
    "preset": "control",
    "attack": "A1",
    "surface": "stem (75, 75, 32)",
    "photos": 16,
    "ssim": estimate(0.95),
    "ssim_floor": 0.5,
    "needed": 0.9,
}


def results_of(preset: str, *, skill: float = 0.5, request_bytes: int = 240, distinct: int = 1) -> list[dict[str, Any]]:
    """By default of a preset that gives the photo away."""
    about = {"preset": preset, "photos": 12, "seeds": 3}
    rates = {name: estimate(skill) for name in ("top1", "top5", "assigned")}
    label_only = {"label_only": estimate(0.002)}
    gain = {"release": estimate(0.6 + skill / 2), "label_only": estimate(0.6), "answer_only": estimate(0.6)}
    summary = {"shape": (3, 3, 16), "sigma_per_clip": 0.0, "epsilon": None, "auc": estimate(0.9)}
    summary |= {"auc_lost": estimate(skill / 2), "request_bytes": request_bytes, "defence_ms": 0.1}
    rebuilt = {"skill": estimate(skill), "ssim": estimate(0.4), "ssim_gain": estimate(skill)}
    named = {"candidates": 1000, "releases": 1, "excess": estimate(skill), "certified_bound": 1.0}
    point = {"shipped": True, "epsilon": None, "sigma_per_clip": 0.0, "auc": estimate(0.9), "candidates": 1000}
    point |= {"identified": estimate(skill), "certified_bound": 1.0, "ridge_skill": estimate(skill)}
    return [
        {"kind": "summary", "preset": preset, **summary, "distinct_releases_of_64": distinct},
        {"kind": "reconstruction", "attack": "A0", "floor": "class mean", **about, **rebuilt},
        {"kind": "reconstruction", "attack": "A3", "own_photos": 1000, **about, **rebuilt},
        {"kind": "identification", "preset": preset, "attack": "A6", **rates, **label_only, **named},
        {"kind": "attribute", "preset": preset, "attack": "A8", "attribute": "age", **gain, "excess": estimate(skill)},
        {"kind": "frontier", "preset": preset, **point},
        {"kind": "not run", "preset": preset, "attack": "A7", "reason": "0 lesions have two photos, 20 are needed"},
    ]


def finished(claims: dict[str, str], *results: dict[str, Any], control: dict[str, Any] = CONTROL) -> JudgedAudit:
    """The audit of presets with these claims, judged."""
    return judged(audit_of(claims, control, *results))


def kept() -> JudgedAudit:
    """Every promise kept, beside two presets that promise nothing."""
    certified = [r for r in results_of("certified", skill=0.001) if r["kind"] != "not run"]
    return finished(
        {"certified": "proven", "compact": "none", "none": "none"},
        *certified,
        *results_of("compact"),
        *results_of("none"),
    )


def page_of(audit: JudgedAudit) -> str:
    """Its page, with white pictures."""
    from securesplit.audit import page

    stream = io.BytesIO()
    Image.new("RGB", (900, 300), "white").save(stream, "PNG")
    white = stream.getvalue()
    return page.render(audit, page.Plots((white, white), (white, white), [("original", white)]))
