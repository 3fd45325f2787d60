r"""How answers to phone photos are read where the network was trained on all that there are: by cross-validation.

    python -m training.bundle.kinds --model BUNDLE --fold FOLD --fold FOLD --data ../shared/data

A fold is a bundle of `training.bundle.default` whose network and presets held some sources out. Every phone photo is
answered by a fold that did not learn it, and these answers stand for those of BUNDLE to photos that it did not see, as
in scikit-learn's ``CalibratedClassifierCV(ensemble=False)`` (`training.evaluation.out_of_fold` says how they get onto
its scale).

Calibration, threshold and spread are fitted on all these answers, with several draws of the noise where there is any;
of a release of a few levels each answer is calibrated by itself (`training.evaluation.calibration.by_answer`). Figures
that hang on them (ECE, sensitivity, specificity, what is called low) are of calibrations, thresholds and spreads that
were fitted without the photo's own fold of patients. Where more than `MOST_MALIGNANT` of the photos that a preset calls
low are malignant, or none is called low, no phone photo is called low under it. Premalignant lesions are left out, and
photos that every fold learned. The manifest gets the answers, as those of a kind that was learned; the identity stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.model import Bundle, NoiseCalibration, guarded_preset
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.manifest import KindOfPhoto
from securesplit.privacy.release import ReleaseSpec
from training import command
from training.bundle.calibrate import apart, noise_calibrations, read_answers
from training.data.dataset import Dataset, Split
from training.data.photo import DataError
from training.evaluation import deployed, metrics
from training.evaluation.calibration import Fit, NoiseFree, by_answer, line, threshold_for_sensitivity
from training.evaluation.out_of_fold import OutOfFold
from training.output import changed_bundle

SENSITIVITY = 0.90
"""The share of a kind's malignant photos that a threshold calls malignant. With 0.95 too many others are (ADR 114)."""
MOST_MALIGNANT = 0.03
"""Share of malignant photos among those that are called low."""
SPLIT = "validation"
"""The name of these photos in `training.bundle.calibrate`, and of their figures in the manifest."""


@dataclass(frozen=True)
class Read:
    """A preset's answers to these photos.

    Attributes:
        answers: how they are read: with the preset's own noise, and after that with more.
        low: which of the photos would be called low by what was fitted without their own folds, ``(draws * n,)``.
        malignant: labels of the photos, likewise.
    """

    answers: tuple[NoiseCalibration, ...]
    low: NDArray[np.bool_]
    malignant: NDArray[np.bool_]

    @property
    def low_figures(self) -> dict[str, float]:
        """The share of photos that would be called low, and of malignant ones among them."""
        malignant = float(self.malignant[self.low].mean()) if self.low.any() else 0.0
        return {"low": round(float(self.low.mean()), 4), "malignant_of_low": round(malignant, 4)}

    @property
    def may_be_low(self) -> bool:
        """Whether few enough of the low ones are malignant; not where there is none to tell by."""
        return bool(self.low.any() and self.malignant[self.low].mean() <= MOST_MALIGNANT)


def read(bundle: Bundle, name: str, found: OutOfFold) -> Read:
    """How a preset's answers to these photos are read, and what may be said of them."""
    spec, split = bundle.presets[name].spec, found.split
    secrets, fit = deployed.draws_of(spec), fit_of(spec)
    logits, clean = found.logits(bundle, name, secrets), found.noise_free(bundle, name)
    noise_free = NoiseFree.measure(clean, split.malignant, split.lesion, fit=fit)
    answered, splits = {SPLIT: logits}, {SPLIT: split}
    own = read_answers(spec, answered, splits, noise_free, len(secrets), sensitivity=SENSITIVITY, fit=fit)
    figures, low = cross_fitted(spec, logits, clean, split)
    own = replace(own, quality={SPLIT: {**own.quality[SPLIT], **figures}})
    more: tuple[NoiseCalibration, ...] = ()
    if spec.sigma_per_clip:
        embeddings = {SPLIT: found.embeddings[name]}
        more = noise_calibrations(bundle, name, splits, embeddings, noise_free, sensitivity=SENSITIVITY)
    return Read((own, *more), low, np.tile(split.malignant.astype(bool), len(secrets)))


def fit_of(spec: ReleaseSpec) -> Fit:
    """What calibrates answers to such releases."""
    return line if spec.levels is None else by_answer


def cross_fitted(
    spec: ReleaseSpec, logits: NDArray[np.float32], clean: NDArray[np.float32], split: Split
) -> tuple[dict[str, float], NDArray[np.bool_]]:
    """Decisions and ECE by what is fitted without the photo's own fold of patients, and which photos are called low.

    Args:
        spec: of the release.
        logits: ``(draws * n,)``.
        clean: the same without noise, ``(n,)``.
        split: the photos.
    """
    fit, draws = fit_of(spec), len(logits) // len(clean)
    labels, lesions = split.malignant.astype(bool), split.lesion
    malignant = np.tile(labels, draws)
    probability, called, high = np.zeros(len(logits)), np.zeros(len(logits), bool), np.zeros(len(logits))
    threshold = np.zeros(len(logits))
    for fold in np.unique(split.source):
        out = split.source == fold
        own = np.tile(out, draws)
        calibration = fit(logits[~own], malignant[~own])
        distance = {} if spec.levels is None else apart(calibration, {SPLIT: logits})
        others = np.tile(lesions, draws)[~own]
        cutoff = threshold_for_sensitivity(logits[~own], malignant[~own], SENSITIVITY, lesions=others, **distance)
        noise_free = NoiseFree.measure(clean[~out], labels[~out], lesions[~out], fit=fit)
        spread = noise_free.spread(logits[~own])
        probability[own] = [calibration.probability(float(logit)) for logit in logits[own]]
        high[own] = [spread.at(float(logit))[1] for logit in logits[own]]
        called[own], threshold[own] = logits[own] >= cutoff, calibration.probability(cutoff)
    ece = metrics.expected_calibration_error(probability, malignant)
    figures = {**metrics.at_threshold(malignant, called), "ece": ece}
    low = np.maximum(high, probability) + ece < threshold  # as securesplit.device.pipeline has it
    return {name: round(v, 4) for name, v in figures.items()}, low


def learned_phone(
    bundle: Bundle, folds: Sequence[Bundle], data: Dataset
) -> tuple[KindOfPhoto, dict[str, dict[str, float]]]:
    """Phone photos as a kind that was learned, and by preset what share would be called low and is malignant then.

    Of the presets whose photos the common gate judges: a gate of its own says what was learned for its preset.

    Raises:
        DataError: every phone photo was learned by every fold, or the folds lack a preset of the bundle.
    """
    shown = [p for p in data.photos["train"] if p.kind == "phone" and not p.is_premalignant]
    found = OutOfFold.of(folds, shown, data)
    known = {name: read(bundle, name, found) for name in bundle.presets if name != guarded_preset.PRESET}
    kind = KindOfPhoto(
        learned=True,
        photos=len(found.split.photos),
        answers={name: each.answers for name, each in known.items()},
        never_low=tuple(name for name, each in known.items() if not each.may_be_low),
    )
    return kind, {name: each.low_figures for name, each in known.items()}


def write(bundle: Bundle, phone: KindOfPhoto, made_by: Mapping[str, Any]) -> None:
    """Put the kind into the manifest.

    Raises:
        DataError: the bundle has no gate, so nothing on the device would know the kind of a photo.
        ConfigError: the bundle cannot be replaced.
    """
    gate = bundle.manifest.gate
    if gate is None:
        raise DataError(f"{bundle.folder} has no gate", hint="fit one first: python -m training.gate.fit")
    manifest = replace(
        bundle.manifest,
        gate=replace(gate, kinds={**gate.kinds, "phone": phone}),
        provenance={**bundle.manifest.provenance, "phone": dict(made_by)},
    )
    with changed_bundle(bundle) as own:
        manifest.write(own)


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--fold", type=Path, action="append", required=True, help="a bundle; may be repeated")
    parser.add_argument("--data", type=Path, required=True, help="a collection, see training.data.collection")
    parser.add_argument("--cache", type=Path, default=Path("build/pixels"), help="decoded photos")
    args = parser.parse_args()
    bundle, folds = Bundle.load(args.bundle), [Bundle.load(fold) for fold in args.fold]
    phone, low = learned_phone(bundle, folds, Dataset.read(args.data, args.cache))
    made_by = {
        "command": "python -m training.bundle.kinds",
        "would_be_low": low,
        "cross_validated": [{"bundle": f.id, "held_out": f.manifest.provenance.get("held_out", [])} for f in folds],
    }
    write(bundle, phone, made_by)
    print(metrics.summary({name: {**own.quality[SPLIT], **low[name]} for name, (own, *_) in phone.answers.items()}))
    print(f"never called low under: {', '.join(phone.never_low) or 'no preset'}")


if __name__ == "__main__":
    command.run(main)
