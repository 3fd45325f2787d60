"""``manifest.json`` of a bundle: what the halves are, what may be released, and how well it did.

The identity of a bundle is the SHA-256 over the hashes of both halves and over the release contract (shape, dtype,
step and clip norm of every preset), so two sides that share it read the same integers the same way. Calibration,
threshold and measured quality may be rewritten without changing it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from securesplit.errors import BundleError
from securesplit.privacy.release import ReleaseSpec

SCHEMA = "securesplit.bundle/1"
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
class Reading:
    """How an answer is read where the device adds other noise than the preset's own.

    Attributes:
        sigma_per_clip: the noise, σ/C.
        calibration: fitted on validation photos with this noise: the more noise, the less an answer says.
        threshold: probability from which on the label is malignant, likewise.
    """

    sigma_per_clip: float
    calibration: Calibration
    threshold: float


@dataclass(frozen=True)
class Preset:
    """One way to release: the integers that travel, and how their answer is read.

    Attributes:
        spec: shape, dtype, grid, clip norm and noise of the release.
        calibration: from the tail's logit to a probability, fitted on validation photos with this preset's noise.
        threshold: probability from which on the label is malignant, chosen on validation photos.
        quality: measured figures by name, for people and reports.
        readings: for more noise than the preset's own, by rising σ; may be empty.
    """

    spec: ReleaseSpec
    calibration: Calibration
    threshold: float
    quality: Mapping[str, Any]
    readings: tuple[Reading, ...] = ()

    def with_epsilon(self, epsilon: float, delta: float) -> Preset:
        """This preset with the noise of (ε, δ) instead of its own, and answers read as that noise asks.

        Between two measured noises, scale, offset and threshold are interpolated over ln σ; beyond them, the nearest.
        """
        spec = self.spec.with_epsilon(epsilon, delta)
        own = Reading(self.spec.sigma_per_clip, self.calibration, self.threshold)
        known = [own, *(r for r in self.readings if r.sigma_per_clip > own.sigma_per_clip)]
        if spec.sigma_per_clip <= own.sigma_per_clip:
            return replace(self, spec=spec)
        noisier = next((r for r in known if r.sigma_per_clip >= spec.sigma_per_clip), known[-1])
        read = _between(known[max(0, known.index(noisier) - 1)], noisier, spec.sigma_per_clip)
        return replace(self, spec=spec, calibration=read.calibration, threshold=read.threshold)


def _between(less: Reading, more: Reading, sigma_per_clip: float) -> Reading:
    if sigma_per_clip >= more.sigma_per_clip:
        return more
    whole = math.log(more.sigma_per_clip / less.sigma_per_clip)
    part = math.log(sigma_per_clip / less.sigma_per_clip) / whole

    def mix(a: float, b: float) -> float:
        return a + part * (b - a)

    calibration = Calibration(
        mix(less.calibration.scale, more.calibration.scale), mix(less.calibration.offset, more.calibration.offset)
    )
    return Reading(sigma_per_clip, calibration, mix(less.threshold, more.threshold))


@dataclass(frozen=True)
class Manifest:
    """A parsed ``manifest.json``."""

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

    @property
    def identity(self) -> bytes:
        """What client and worker must share, 32 bytes."""
        contract = {name: _spec_to_json(p.spec, noise=False) for name, p in self.presets.items()}
        fields = [SCHEMA, self.head_sha256, self.tail_sha256, json.dumps(contract, sort_keys=True)]
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
            "licence": self.licence,
            "provenance": dict(self.provenance),
        }

    def to_text(self) -> str:
        """The content of ``manifest.json``.

        Raises:
            ValueError: a number is not finite, so no reader would take it.
        """
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"


def parse(text: str) -> Manifest:
    """Read a manifest.

    Raises:
        BundleError: it is no JSON, of another schema, or lacks a field.
    """
    try:
        raw = json.loads(text)
        if raw["schema"] != SCHEMA:
            raise BundleError(f"the bundle's schema is {raw['schema']!r}, this version reads {SCHEMA!r}", hint=_HINT)
        manifest = Manifest(
            name=str(raw["name"]),
            head_sha256=str(raw["halves"]["head.tflite"]),
            tail_sha256=str(raw["halves"]["tail.tflite"]),
            side=int(raw["preprocessing"]["side"]),
            backbone=str(raw["backbone"]),
            cut=str(raw["cut"]),
            presets={name: _preset(name, value) for name, value in raw["presets"].items()},
            default_preset=str(raw["default_preset"]),
            licence=str(raw["licence"]),
            provenance=dict(raw["provenance"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"the bundle's manifest is damaged ({type(error).__name__}: {error})", hint=_HINT) from None
    if manifest.default_preset not in manifest.presets:
        raise BundleError("the bundle's default preset is not among its presets", hint=_HINT)
    if raw.get("identity") != f"sha256:{manifest.identity.hex()}":
        raise BundleError("the bundle's manifest was altered: its identity does not match", hint=_HINT)
    return manifest


def _preset(name: str, raw: Mapping[str, Any]) -> Preset:
    clip = raw["release"]["clip_norm"]
    spec = ReleaseSpec(
        preset=name,
        shape=tuple(int(n) for n in raw["release"]["shape"]),
        dtype=str(raw["release"]["dtype"]),
        step=float(raw["release"]["step"]),
        clip_norm=None if clip is None else float(clip),
        sigma_per_clip=float(raw["release"]["sigma_per_clip"]),
        levels=_levels(raw["release"].get("levels")),
    )
    readings = tuple(
        Reading(float(r["sigma_per_clip"]), _calibration(r["calibration"]), float(r["threshold"]))
        for r in raw.get("more_noise", ())
    )
    return Preset(spec, _calibration(raw["calibration"]), float(raw["threshold"]), dict(raw["quality"]), readings)


def _levels(raw: Any) -> tuple[int, int] | None:
    """Lowest and highest level; manifests of before have none, and all that the clip norm allows counts."""
    if raw is None:
        return None
    lowest, highest = raw
    return int(lowest), int(highest)


def _calibration(raw: Mapping[str, Any]) -> Calibration:
    return Calibration(float(raw["scale"]), float(raw["offset"]))


def _preset_to_json(preset: Preset) -> dict[str, Any]:
    readings = [{"sigma_per_clip": r.sigma_per_clip, **_reading_to_json(r)} for r in preset.readings]
    return {
        "release": _spec_to_json(preset.spec, noise=True),
        **_reading_to_json(preset),
        "quality": dict(preset.quality),
        **({"more_noise": readings} if readings else {}),
    }


def _reading_to_json(read: Preset | Reading) -> dict[str, Any]:
    calibration = {"scale": read.calibration.scale, "offset": read.calibration.offset}
    return {"calibration": calibration, "threshold": read.threshold}


def _spec_to_json(spec: ReleaseSpec, *, noise: bool) -> dict[str, Any]:
    """The release contract; with `noise` also what a device does on its own within it: noise, and levels that occur."""
    contract = {"shape": list(spec.shape), "dtype": spec.dtype, "step": spec.step, "clip_norm": spec.clip_norm}
    if not noise:
        return contract
    levels = {} if spec.levels is None else {"levels": list(spec.levels)}
    return {**contract, "sigma_per_clip": spec.sigma_per_clip, **levels}
