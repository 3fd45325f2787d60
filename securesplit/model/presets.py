"""What a bundle's preset releases, how its answers are calibrated for each noise, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from securesplit.model.spread import Spread
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import Accuracy

SHARES = frozenset(
    {"auc", "auc_low", "auc_high", "auc_histology", "sensitivity", "specificity", "balanced_accuracy", "ece"}
)
SPLITS = ("test", "validation")
"""By which quality is measured; the first that there is counts."""


@dataclass(frozen=True)
class Calibration:
    """From the tail's logit to a probability of malignant, ``p = 1 / (1 + exp(-x))``.

    Attributes:
        scale: ``x = scale · logit + offset`` is Platt scaling (Platt 1999).
        offset: likewise.
        knots: instead of that line, pairs (logit, x), both rising, of answers that are few and were counted one by one;
            linear between them, parallel to the line beyond. Empty: the line holds.
    """

    scale: float
    offset: float
    knots: tuple[tuple[float, float], ...] = ()

    def log_odds(self, logits: Any) -> Any:
        """``x`` of a raw logit, or of an array of them."""
        if not self.knots:
            return self.scale * logits + self.offset
        at, log_odds = np.array(self.knots).T
        return np.interp(logits, at, log_odds) + self.scale * (logits - np.clip(logits, at[0], at[-1]))

    def probability(self, logit: float) -> float:
        """Calibrated probability of malignant for a raw logit."""
        x = float(self.log_odds(logit))
        return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))

    def mixed(self, other: Calibration, part: float) -> Calibration:
        """So much of the way from this one to another."""

        def mix(a: float, b: float) -> float:
            return a + part * (b - a)

        at = sorted({logit for each in (self, other) for logit, _ in each.knots})
        knots = tuple((logit, mix(float(self.log_odds(logit)), float(other.log_odds(logit)))) for logit in at)
        return Calibration(mix(self.scale, other.scale), mix(self.offset, other.offset), knots)


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

    @classmethod
    def uncalibrated(cls, spec: ReleaseSpec, quality: Mapping[str, Any] | None = None) -> Preset:
        """A preset before its calibration: a logit is read as log-odds, and the threshold is 0.5."""
        return cls(spec, Calibration(1.0, 0.0), 0.5, {} if quality is None else quality)

    def with_epsilon(self, epsilon: float, delta: float) -> Preset:
        """This preset with the noise of (ε, δ) instead of its own, and answers read and judged as that noise asks.

        Between two measured noises, scale, offset, threshold and figures are interpolated over ln σ; beyond them, the
        nearest. What was measured with less noise says nothing of more, so beyond the last measured noise there are no
        figures, unless answers were chance there already.
        """
        spec = self.spec.with_epsilon(epsilon, delta)
        own = NoiseCalibration(self.spec.sigma_per_clip, self.calibration, self.threshold, self.quality, self.spread)
        known = [own, *(r for r in self.noise_calibrations if r.sigma_per_clip > own.sigma_per_clip)]
        return replace(self, spec=spec).read_by(at_noise(known, spec.sigma_per_clip))

    def read_by(self, found: NoiseCalibration) -> Preset:
        """This preset with its answers read and judged in another way."""
        return replace(
            self,
            calibration=found.calibration,
            threshold=found.threshold,
            quality=found.quality,
            spread=found.spread,
        )

    @property
    def accuracy(self) -> Accuracy | None:
        """What answers are worth, on test photos where those were measured; None where nothing was."""
        return accuracy_in(self.quality)


def at_noise(known: Sequence[NoiseCalibration], sigma_per_clip: float) -> NoiseCalibration:
    """How answers with that noise are read, see `Preset.with_epsilon`.

    Args:
        known: by rising noise, at least one; with less noise than its own the first holds.
        sigma_per_clip: the noise, σ/C.
    """
    if sigma_per_clip <= known[0].sigma_per_clip:
        return known[0]
    noisier = next((r for r in known if r.sigma_per_clip >= sigma_per_clip), known[-1])
    found = _between(known[max(0, known.index(noisier) - 1)], noisier, sigma_per_clip)
    accuracy = accuracy_in(found.quality)
    measured = sigma_per_clip <= noisier.sigma_per_clip or (accuracy and accuracy.is_chance)
    return found if measured else replace(found, quality={}, spread=None)


def accuracy_in(quality: Mapping[str, Any]) -> Accuracy | None:
    """By measured figures, those of the first split of `SPLITS` that has any; None where none has."""
    for split in SPLITS:
        figures = quality.get(split)
        if isinstance(figures, Mapping) and "auc" in figures:
            return accuracy_of(figures, split)
    return None


def _between(less: NoiseCalibration, more: NoiseCalibration, sigma_per_clip: float) -> NoiseCalibration:
    if sigma_per_clip >= more.sigma_per_clip:
        return more
    whole = math.log(more.sigma_per_clip / less.sigma_per_clip)
    part = math.log(sigma_per_clip / less.sigma_per_clip) / whole

    def mix(a: float, b: float) -> float:
        return a + part * (b - a)

    calibration = less.calibration.mixed(more.calibration, part)
    figures = {}
    for split in SPLITS:
        one, other = (read.quality.get(split) for read in (less, more))
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            shared = sorted(SHARES & one.keys() & other.keys())
            figures[split] = {name: round(mix(one[name], other[name]), 4) for name in shared}
    spread = None if less.spread is None or more.spread is None else less.spread.mixed(more.spread, part)
    return NoiseCalibration(sigma_per_clip, calibration, mix(less.threshold, more.threshold), figures, spread)


def accuracy_of(figures: Mapping[str, Any], measured_on: str) -> Accuracy:
    """Of measured figures, of which only ``auc`` must be there."""
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
