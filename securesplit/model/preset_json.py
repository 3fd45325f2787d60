"""A preset as the manifest holds it: read within bounds, and written."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from securesplit.model import fields
from securesplit.model import spread as spreads
from securesplit.model.presets import SHARES, Calibration, NoiseCalibration, Preset
from securesplit.model.spread import MAX_KNOTS, Spread
from securesplit.privacy.preset_names import current_name
from securesplit.privacy.release import ReleaseSpec

MAX_NOISE_CALIBRATIONS = 64
PRESET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
"""Presets name files of an audit too."""
MAX_DIMENSIONS, MAX_NUMBERS = 3, 1 << 24
"""Of a release."""
STEPS = (1e-12, 1e12)
MAX_CLIP_STEPS = 1 << 15
"""What an int16 release can tell apart; more of it would be saturated."""
SIGMAS = (1e-3, 1e4)
"""Noise per clip norm where there is any: from ε beyond 10^6 to ε below 0.001."""
MAX_NOISE_STEPS = 1 << 15
"""More noise than that drowns in the saturation of int16, and its exact accounting takes minutes."""
MAX_CALIBRATION = 1e4
SCHEME = "ckks"
"""How a release may be encrypted (`securesplit.encrypted`)."""


def parse(stored_name: str, raw: Mapping[str, Any]) -> Preset:
    """Read a preset.

    Raises:
        ValueError: a field is missing, of another type, or out of range.
    """
    if not PRESET_NAME.fullmatch(stored_name):
        raise ValueError("the name of a preset is not 1 to 32 letters, digits, dots, dashes and underscores")
    spec = _spec(stored_name, fields.section(raw, "release"))
    own, *more = answers(raw, spec.sigma_per_clip)
    return Preset(spec, own.calibration, own.threshold, own.quality, tuple(more), own.spread)


def answers(raw: Mapping[str, Any], sigma_per_clip: float) -> tuple[NoiseCalibration, ...]:
    """How answers are read with a preset's own noise, and after that with more, by rising noise.

    Raises:
        ValueError: a field is missing, of another type, or out of range.
    """
    own = NoiseCalibration(sigma_per_clip, _calibration(raw), _threshold(raw), _quality(raw), _spread(raw))
    found = (own, *_noise_calibrations(raw))
    if len({None if each.spread is None else each.spread.logits for each in found}) > 1:
        raise ValueError("spreads of one preset are measured at different logits")
    return found


def _spec(stored_name: str, raw: Mapping[str, Any]) -> ReleaseSpec:
    shape = tuple(
        fields.whole(n, "a length of shape", 1, MAX_NUMBERS) for n in fields.items(raw, "shape", most=MAX_DIMENSIONS)
    )
    if math.prod(shape) > MAX_NUMBERS:
        raise ValueError(f"shape holds more than {MAX_NUMBERS} numbers")
    step = fields.number(raw, "step", *STEPS)
    name = current_name(stored_name)
    spec = ReleaseSpec(
        preset=name,
        stored_as=None if name == stored_name else stored_name,
        shape=shape,
        dtype=fields.name(raw, "dtype"),
        step=step,
        clip_norm=fields.optional_number(raw, "clip_norm", step, step * MAX_CLIP_STEPS),
        sigma_per_clip=fields.number(raw, "sigma_per_clip", 0.0, SIGMAS[1]),
        levels=_levels(raw),
        encrypted=_is_encrypted(raw),
    )
    if 0 < spec.sigma_per_clip < SIGMAS[0]:
        raise ValueError(f"sigma_per_clip is neither 0 nor at least {SIGMAS[0]:g}")
    if spec.sigma_squared > MAX_NOISE_STEPS**2:
        raise ValueError(f"sigma_per_clip is more than {MAX_NOISE_STEPS} steps")
    return spec


def _levels(raw: Mapping[str, Any]) -> tuple[int, int] | None:
    """Lowest and highest level; manifests of before have none, and all that the clip norm allows counts."""
    if raw.get("levels") is None:
        return None
    ends = fields.items(raw, "levels", most=2)
    lowest, highest = (fields.whole(n, "a level", -MAX_CLIP_STEPS, MAX_CLIP_STEPS) for n in ends)
    return lowest, highest


def _is_encrypted(raw: Mapping[str, Any]) -> bool:
    """Whether the device encrypts the integers, in the one way that there is."""
    if "encryption" not in raw:
        return False
    if raw["encryption"] != SCHEME:
        raise ValueError(f"encryption is not {SCHEME}, the only one that this version knows")
    return True


def _noise_calibrations(raw: Mapping[str, Any]) -> tuple[NoiseCalibration, ...]:
    """By rising noise, as `Preset.with_epsilon` needs them."""
    if "more_noise" not in raw:
        return ()
    found = tuple(map(_noise_calibration, fields.objects(raw, "more_noise", most=MAX_NOISE_CALIBRATIONS)))
    if any(more.sigma_per_clip <= less.sigma_per_clip for less, more in itertools.pairwise(found)):
        raise ValueError("more_noise is not in the order of rising sigma_per_clip")
    return found


def _noise_calibration(raw: Mapping[str, Any]) -> NoiseCalibration:
    sigma_per_clip = fields.number(raw, "sigma_per_clip", *SIGMAS)
    quality = _quality(raw) if "quality" in raw else {}
    return NoiseCalibration(sigma_per_clip, _calibration(raw), _threshold(raw), quality, _spread(raw))


def _spread(raw: Mapping[str, Any]) -> Spread | None:
    return spreads.parse(fields.section(raw, "spread")) if "spread" in raw else None


def _calibration(raw: Mapping[str, Any]) -> Calibration:
    inner = fields.section(raw, "calibration")
    return Calibration(
        fields.number(inner, "scale", -MAX_CALIBRATION, MAX_CALIBRATION),
        fields.number(inner, "offset", -MAX_CALIBRATION, MAX_CALIBRATION),
        _knots(fields.section(inner, "knots")) if "knots" in inner else (),
    )


def _knots(raw: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """A larger logit never means a smaller probability."""
    logits, log_odds = (
        [
            fields.number({key: value}, key, -MAX_CALIBRATION, MAX_CALIBRATION)
            for value in fields.items(raw, key, most=MAX_KNOTS)
        ]
        for key in ("logits", "log_odds")
    )
    if not logits or len(logits) != len(log_odds):
        raise ValueError("the knots of a calibration have not one log_odds for each logit")
    if any(b <= a for a, b in itertools.pairwise(logits)) or any(b < a for a, b in itertools.pairwise(log_odds)):
        raise ValueError("the knots of a calibration do not rise")
    return tuple(zip(logits, log_odds, strict=True))


def _threshold(raw: Mapping[str, Any]) -> float:
    return fields.number(raw, "threshold", 0.0, 1.0)


def _quality(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    quality = fields.section(raw, "quality")
    _check_shares(quality)
    return quality


def _check_shares(quality: Mapping[str, Any]) -> None:
    """Raise ValueError where a rate or an area, however deep, lies outside 0..1, or an AUC outside its interval."""
    known = [fields.number(quality, key, 0.0, 1.0) for key in ("auc_low", "auc", "auc_high") if key in quality]
    if known != sorted(known):
        raise ValueError("auc lies outside its interval")
    for key, value in quality.items():
        if isinstance(value, dict):
            _check_shares(value)
        elif key in SHARES:
            fields.number(quality, key, 0.0, 1.0)


def to_json(preset: Preset) -> dict[str, Any]:
    """The object that `parse` reads back."""
    return {
        "release": spec_to_json(preset.spec, noise=True),
        **answers_to_json(preset, preset.noise_calibrations),
    }


def answers_to_json(own: Preset | NoiseCalibration, more: Sequence[NoiseCalibration]) -> dict[str, Any]:
    """The object that `answers` reads back; `own` of a preset's own noise, `more` of more of it."""
    noisier = [
        {
            "sigma_per_clip": c.sigma_per_clip,
            **_answers_to_json(c),
            **({"quality": dict(c.quality)} if c.quality else {}),
        }
        for c in more
    ]
    return {**_answers_to_json(own), "quality": dict(own.quality), **({"more_noise": noisier} if noisier else {})}


def _answers_to_json(read: Preset | NoiseCalibration) -> dict[str, Any]:
    spread = {} if read.spread is None else {"spread": read.spread.to_json()}
    return {"calibration": _calibration_to_json(read.calibration), "threshold": read.threshold, **spread}


def _calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    """The object that `_calibration` reads back; an earlier version reads the line alone."""
    line: dict[str, Any] = {"scale": calibration.scale, "offset": calibration.offset}
    if not calibration.knots:
        return line
    logits, log_odds = zip(*calibration.knots, strict=True)
    return line | {"knots": {"logits": list(logits), "log_odds": list(log_odds)}}


def spec_to_json(spec: ReleaseSpec, *, noise: bool) -> dict[str, Any]:
    """The release contract; with `noise` also what a device does on its own within it: noise, and levels that occur."""
    contract: dict[str, Any] = {
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "step": spec.step,
        "clip_norm": spec.clip_norm,
    }
    if spec.encrypted:
        contract["encryption"] = SCHEME
    if not noise:
        return contract
    levels = {} if spec.levels is None else {"levels": list(spec.levels)}
    return {**contract, "sigma_per_clip": spec.sigma_per_clip, **levels}
