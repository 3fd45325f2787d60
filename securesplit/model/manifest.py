"""``manifest.json`` of a bundle: what the halves are, what may be released, and how well it did.

The identity of a bundle is the SHA-256 over the hashes of both halves and over the release contract (shape, dtype,
step and clip norm of every preset), so two sides that share it read the same integers the same way. Calibration,
threshold and measured quality may be rewritten without changing it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from securesplit.errors import BundleError
from securesplit.model import attack_decoder, fields
from securesplit.model import spread as spreads
from securesplit.model.attack_decoder import AttackInfo
from securesplit.model.spread import Spread
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import Accuracy, Kind

SCHEMA = "securesplit.bundle/1"
SIDES = (8, 2048)
"""Of a photo, in pixels."""
MAX_PRESETS, MAX_NOISE_CALIBRATIONS = 16, 64
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
SHARES = frozenset(
    {"auc", "auc_low", "auc_high", "auc_histology", "sensitivity", "specificity", "balanced_accuracy", "ece"}
)
SPLITS = ("test", "validation")
"""By which quality is measured; the first that there is counts."""
_HINT = "fetch or build the bundle again"


@dataclass(frozen=True)
class Calibration:
    """Platt scaling of the tail's logit: ``p = 1 / (1 + exp(-(scale · logit + offset)))`` (Platt 1999)."""

    scale: float
    offset: float

    def probability(self, logit: float) -> float:
        """Calibrated probability of malignant for a raw logit."""
        x = self.scale * logit + self.offset
        return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


@dataclass(frozen=True)
class NoiseCalibration:
    """How answers are calibrated where the device adds other noise than the preset's own.

    Attributes:
        sigma_per_clip: the noise, σ/C.
        calibration: fitted on validation photos with this noise: the more noise, the less an answer says.
        threshold: probability from which on the label is malignant, likewise.
        quality: measured figures with this noise, as those of `Preset`; empty where nothing was measured.
        spread: between what answers with this noise lie; None where that was not measured.
    """

    sigma_per_clip: float
    calibration: Calibration
    threshold: float
    quality: Mapping[str, Any] = field(default_factory=dict)
    spread: Spread | None = None


@dataclass(frozen=True)
class Preset:
    """One way to release: the integers that travel, and how their answer is read.

    Attributes:
        spec: shape, dtype, grid, clip norm and noise of the release.
        calibration: from the tail's logit to a probability, fitted on validation photos with this preset's noise.
        threshold: probability from which on the label is malignant, chosen on validation photos.
        quality: measured figures by split of the data (``validation``, ``test``) and name.
        noise_calibrations: for more noise than the preset's own, by rising σ; may be empty (``more_noise`` in JSON).
        spread: as that of `NoiseCalibration`.
    """

    spec: ReleaseSpec
    calibration: Calibration
    threshold: float
    quality: Mapping[str, Any]
    noise_calibrations: tuple[NoiseCalibration, ...] = ()
    spread: Spread | None = None

    def with_epsilon(self, epsilon: float, delta: float) -> Preset:
        """This preset with the noise of (ε, δ) instead of its own, and answers read and judged as that noise asks.

        Between two measured noises, scale, offset, threshold and figures are interpolated over ln σ; beyond them, the
        nearest. What was measured with less noise says nothing of more, so beyond the last measured noise there are no
        figures, unless answers were chance there already.
        """
        spec = self.spec.with_epsilon(epsilon, delta)
        own = NoiseCalibration(self.spec.sigma_per_clip, self.calibration, self.threshold, self.quality, self.spread)
        known = [own, *(r for r in self.noise_calibrations if r.sigma_per_clip > own.sigma_per_clip)]
        if spec.sigma_per_clip <= own.sigma_per_clip:
            return replace(self, spec=spec)
        noisier = next((r for r in known if r.sigma_per_clip >= spec.sigma_per_clip), known[-1])
        read = _between(known[max(0, known.index(noisier) - 1)], noisier, spec.sigma_per_clip)
        found = replace(
            self,
            spec=spec,
            calibration=read.calibration,
            threshold=read.threshold,
            quality=read.quality,
            spread=read.spread,
        )
        measured = spec.sigma_per_clip <= noisier.sigma_per_clip or (found.accuracy and found.accuracy.is_chance)
        return found if measured else replace(found, quality={}, spread=None)

    @property
    def accuracy(self) -> Accuracy | None:
        """What answers are worth, on test photos where those were measured; None where nothing was."""
        for split in SPLITS:
            figures = self.quality.get(split)
            if isinstance(figures, Mapping) and "auc" in figures:
                return _accuracy(figures, split)
        return None


def _between(less: NoiseCalibration, more: NoiseCalibration, sigma_per_clip: float) -> NoiseCalibration:
    if sigma_per_clip >= more.sigma_per_clip:
        return more
    whole = math.log(more.sigma_per_clip / less.sigma_per_clip)
    part = math.log(sigma_per_clip / less.sigma_per_clip) / whole

    def mix(a: float, b: float) -> float:
        return a + part * (b - a)

    calibration = Calibration(
        mix(less.calibration.scale, more.calibration.scale), mix(less.calibration.offset, more.calibration.offset)
    )
    figures = {}
    for split in SPLITS:
        one, other = (read.quality.get(split) for read in (less, more))
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            shared = sorted(SHARES & one.keys() & other.keys())
            figures[split] = {name: round(mix(one[name], other[name]), 4) for name in shared}
    spread = None if less.spread is None or more.spread is None else less.spread.mixed(more.spread, part)
    return NoiseCalibration(sigma_per_clip, calibration, mix(less.threshold, more.threshold), figures, spread)


def _accuracy(figures: Mapping[str, Any], measured_on: str) -> Accuracy:
    return Accuracy(
        auc=float(figures["auc"]),
        auc_low=_figure(figures, "auc_low"),
        auc_high=_figure(figures, "auc_high"),
        sensitivity=_figure(figures, "sensitivity"),
        specificity=_figure(figures, "specificity"),
        measured_on=measured_on,
        ece=_figure(figures, "ece"),
    )


def _figure(figures: Mapping[str, Any], name: str) -> float | None:
    return None if figures.get(name) is None else float(figures[name])


@dataclass(frozen=True)
class KindOfPhoto:
    """What the network knows of photos that were taken in one way.

    Attributes:
        learned: whether it was trained on such photos.
        photos: how many were measured where it was not.
        figures: by preset, measured on them with the preset's own noise.
    """

    learned: bool
    photos: int = 0
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def accuracy(self, preset: str, kind: Kind) -> Accuracy | None:
        """What answers to such photos are worth; None where nothing was measured."""
        return _accuracy(self.figures[preset], kind) if preset in self.figures else None


@dataclass(frozen=True)
class GateInfo:
    """A bundle's gate (`securesplit.model.gate`): the hash of its file, and what was learned of each kind of photo."""

    sha256: str
    kinds: Mapping[Kind, KindOfPhoto]


@dataclass(frozen=True)
class Manifest:
    """A parsed ``manifest.json``; `gate` and `attack_decoder` are None where the bundle has none."""

    name: str
    head_sha256: str
    tail_sha256: str
    side: int
    backbone: str
    cut: str
    presets: Mapping[str, Preset]
    default_preset: str
    licence: str
    provenance: Mapping[str, Any]
    gate: GateInfo | None = None
    attack_decoder: AttackInfo | None = None

    @property
    def identity(self) -> bytes:
        """What client and worker must share, 32 bytes."""
        contract = {name: _spec_to_json(p.spec, noise=False) for name, p in self.presets.items()}
        fields = [SCHEMA, self.head_sha256, self.tail_sha256, json.dumps(contract, sort_keys=True, allow_nan=False)]
        return hashlib.sha256("\n".join(fields).encode()).digest()

    def to_json(self) -> dict[str, Any]:
        """The object that `parse` reads back."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "identity": f"sha256:{self.identity.hex()}",
            "halves": {"head.tflite": self.head_sha256, "tail.tflite": self.tail_sha256},
            "preprocessing": {"side": self.side, "crop": "centre square", "colour": "RGB 0..255"},
            "backbone": self.backbone,
            "cut": self.cut,
            "default_preset": self.default_preset,
            "presets": {name: _preset_to_json(preset) for name, preset in self.presets.items()},
            **({} if self.gate is None else {"gate": _gate_to_json(self.gate)}),
            **({} if self.attack_decoder is None else {attack_decoder.KEY: self.attack_decoder.to_json()}),
            "licence": self.licence,
            "provenance": dict(self.provenance),
        }

    def to_text(self) -> str:
        """The content of ``manifest.json``.

        Raises:
            ValueError: a number is not finite, so no reader would take it.
        """
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"


def parse(content: bytes) -> Manifest:
    """Read the content of ``manifest.json``.

    Raises:
        BundleError: it is no JSON, of another schema, lacks a field, or holds one of another type or out of range.
    """
    try:
        raw = fields.parse_object(content.decode("utf-8"))
        if raw.get("schema") != SCHEMA:
            told = str(raw.get("schema"))[:60]
            raise BundleError(f"the bundle's schema is {told!r}, this version reads {SCHEMA!r}", hint=_HINT)
        manifest = _manifest(raw)
    except ValueError as error:
        raise BundleError(f"the bundle's manifest is damaged: {error}", hint=_HINT) from None
    if manifest.default_preset not in manifest.presets:
        raise BundleError("the bundle's default preset is not among its presets", hint=_HINT)
    if raw.get("identity") != f"sha256:{manifest.identity.hex()}":
        raise BundleError("the bundle's manifest was altered: its identity does not match", hint=_HINT)
    return manifest


def _manifest(raw: Mapping[str, Any]) -> Manifest:
    halves, presets = fields.section(raw, "halves"), fields.section(raw, "presets")
    if not 0 < len(presets) <= MAX_PRESETS:
        raise ValueError(f"presets are not 1 to {MAX_PRESETS}")
    return Manifest(
        name=fields.name(raw, "name"),
        head_sha256=fields.sha256(halves, "head.tflite"),
        tail_sha256=fields.sha256(halves, "tail.tflite"),
        side=fields.whole(fields.section(raw, "preprocessing").get("side"), "side", *SIDES),
        backbone=fields.name(raw, "backbone"),
        cut=fields.name(raw, "cut"),
        presets={name: _preset(name, fields.section(presets, name)) for name in presets},
        default_preset=fields.name(raw, "default_preset"),
        licence=fields.paragraph(raw, "licence"),
        provenance=fields.section(raw, "provenance"),
        gate=_gate(fields.section(raw, "gate")) if "gate" in raw else None,
        attack_decoder=_attack_decoder(raw, presets),
    )


def _attack_decoder(raw: Mapping[str, Any], presets: Mapping[str, Any]) -> AttackInfo | None:
    if attack_decoder.KEY not in raw:
        return None
    return attack_decoder.parse_info(fields.section(raw, attack_decoder.KEY), presets)


def _gate(raw: Mapping[str, Any]) -> GateInfo:
    kinds = fields.section(raw, "kinds")
    if set(kinds) != set(get_args(Kind)):
        raise ValueError(f"kinds of photos are not {' and '.join(get_args(Kind))}")
    return GateInfo(fields.sha256(raw, "gate.json"), {k: _kind(fields.section(kinds, k)) for k in get_args(Kind)})


def _kind(raw: Mapping[str, Any]) -> KindOfPhoto:
    if type(raw.get("learned")) is not bool:
        raise ValueError("learned is not true or false")
    figures = fields.section(raw, "figures")
    if len(figures) > MAX_PRESETS:
        raise ValueError(f"figures are of more than {MAX_PRESETS} presets")
    return KindOfPhoto(
        raw["learned"],
        fields.whole(raw.get("photos"), "photos", 0, 1 << 31),
        {preset: _figures(fields.section(figures, preset)) for preset in figures},
    )


def _figures(raw: Mapping[str, Any]) -> Mapping[str, float]:
    if "auc" not in raw or not set(raw) <= SHARES:
        raise ValueError("figures of a kind of photos are not an auc and other shares")
    return {name: fields.number(raw, name, 0.0, 1.0) for name in raw}


def _gate_to_json(gate: GateInfo) -> dict[str, Any]:
    return {
        "gate.json": gate.sha256,
        "kinds": {
            kind: {"learned": k.learned, "photos": k.photos, "figures": {n: dict(f) for n, f in k.figures.items()}}
            for kind, k in gate.kinds.items()
        },
    }


def _preset(name: str, raw: Mapping[str, Any]) -> Preset:
    if not PRESET_NAME.fullmatch(name):
        raise ValueError("the name of a preset is not 1 to 32 letters, digits, dots, dashes and underscores")
    spec = _spec(name, fields.section(raw, "release"))
    spread, noise_calibrations = _spread(raw), _noise_calibrations(raw)
    if len({None if each is None else each.logits for each in (spread, *(r.spread for r in noise_calibrations))}) > 1:
        raise ValueError("spreads of one preset are measured at different logits")
    return Preset(spec, _calibration(raw), _threshold(raw), _quality(raw), noise_calibrations, spread)


def _spec(name: str, raw: Mapping[str, Any]) -> ReleaseSpec:
    shape = tuple(
        fields.whole(n, "a length of shape", 1, MAX_NUMBERS) for n in fields.items(raw, "shape", most=MAX_DIMENSIONS)
    )
    if math.prod(shape) > MAX_NUMBERS:
        raise ValueError(f"shape holds more than {MAX_NUMBERS} numbers")
    step = fields.number(raw, "step", *STEPS)
    spec = ReleaseSpec(
        preset=name,
        shape=shape,
        dtype=fields.name(raw, "dtype"),
        step=step,
        clip_norm=fields.optional_number(raw, "clip_norm", step, step * MAX_CLIP_STEPS),
        sigma_per_clip=fields.number(raw, "sigma_per_clip", 0.0, SIGMAS[1]),
        levels=_levels(raw),
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
    )


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


def _preset_to_json(preset: Preset) -> dict[str, Any]:
    noisier = [{"sigma_per_clip": c.sigma_per_clip, **_answers_to_json(c)} for c in preset.noise_calibrations]
    return {
        "release": _spec_to_json(preset.spec, noise=True),
        **_answers_to_json(preset),
        **({"more_noise": noisier} if noisier else {}),
    }


def _answers_to_json(read: Preset | NoiseCalibration) -> dict[str, Any]:
    calibration = {"scale": read.calibration.scale, "offset": read.calibration.offset}
    figures = {"quality": dict(read.quality)} if read.quality or isinstance(read, Preset) else {}
    spread = {} if read.spread is None else {"spread": read.spread.to_json()}
    return {"calibration": calibration, "threshold": read.threshold, **spread, **figures}


def _spec_to_json(spec: ReleaseSpec, *, noise: bool) -> dict[str, Any]:
    """The release contract; with `noise` also what a device does on its own within it: noise, and levels that occur."""
    contract = {"shape": list(spec.shape), "dtype": spec.dtype, "step": spec.step, "clip_norm": spec.clip_norm}
    if not noise:
        return contract
    levels = {} if spec.levels is None else {"levels": list(spec.levels)}
    return {**contract, "sigma_per_clip": spec.sigma_per_clip, **levels}
