r"""How answers to phone photos are read where the network was trained on all that there are: by cross-validation.

    python -m training.bundle.kinds --model BUNDLE --fold FOLD --fold FOLD --data ../shared/data

A fold is a bundle of `training.bundle.default` whose network and presets held some sources out. Every phone photo is
answered by a fold that did not learn it, and these answers stand for those of BUNDLE to photos that it did not see, as
in scikit-learn's ``CalibratedClassifierCV(ensemble=False)`` (`training.evaluation.out_of_fold` says how they get onto
its scale).

Calibration, threshold and spread are fitted on all these answers. Figures that hang on them (ECE, sensitivity,
specificity) are of calibrations and thresholds that were fitted without the photo's own fold of patients. Premalignant
lesions are left out, and photos that every fold learned. The manifest gets the answers, as those of a kind that was
learned; the identity stays.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.atomic import write_text_atomic
from securesplit.model import Bundle, Calibration, NoiseCalibration
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.manifest import KindOfPhoto
from securesplit.privacy.release import ReleaseSpec
from training import command
from training.bundle.calibrate import apart, noise_calibrations, read_answers
from training.data.dataset import Dataset, Split
from training.data.photo import DataError
from training.evaluation import metrics
from training.evaluation.calibration import SENSITIVITY, NoiseFree, platt, threshold_for_sensitivity
from training.evaluation.out_of_fold import OutOfFold

SPLIT = "validation"
"""The name of these photos in `training.bundle.calibrate`, and of their figures in the manifest."""


def answers(bundle: Bundle, name: str, found: OutOfFold) -> tuple[NoiseCalibration, ...]:
    """How answers of a preset to these photos are read: with its own noise, and after that with more."""
    spec, split = bundle.presets[name].spec, found.split
    lesions = [p.lesion for p in split.photos]
    noise_free = NoiseFree.measure(found.noise_free(bundle, name), split.malignant, lesions)
    logits = found.logits(bundle, name)
    own = read_answers(spec, {SPLIT: logits}, {SPLIT: split}, noise_free)
    own = replace(own, quality={SPLIT: {**own.quality[SPLIT], **cross_fitted(spec, logits, split)}})
    if not spec.sigma_per_clip:
        return (own,)
    return own, *noise_calibrations(bundle, name, {SPLIT: split}, {SPLIT: found.embeddings[name]}, noise_free)


def cross_fitted(spec: ReleaseSpec, logits: NDArray[np.float32], split: Split) -> dict[str, float]:
    """Decisions and ECE by calibrations and thresholds that are fitted without the photo's own fold of patients.

    Args:
        spec: the release.
        logits: ``(n,)``.
        split: the photos.
    """
    malignant = split.malignant.astype(bool)
    probability, called = np.zeros(len(logits)), np.zeros(len(logits), bool)
    for fold in np.unique(split.source):
        own = split.source == fold
        calibration = Calibration(*platt(logits[~own], malignant[~own]))
        distance = {} if spec.levels is None else apart(calibration, {SPLIT: logits})
        cutoff = threshold_for_sensitivity(logits[~own], malignant[~own], SENSITIVITY, **distance)
        probability[own] = [calibration.probability(float(logit)) for logit in logits[own]]
        called[own] = logits[own] >= cutoff
    ece = metrics.expected_calibration_error(probability, malignant)
    return {name: round(v, 4) for name, v in {**metrics.at_threshold(malignant, called), "ece": ece}.items()}


def learned_phone(bundle: Bundle, folds: Sequence[Bundle], data: Dataset) -> KindOfPhoto:
    """Phone photos as a kind that was learned.

    Raises:
        DataError: every phone photo was learned by every fold, or the folds lack a preset of the bundle.
    """
    shown = [p for p in data.photos["train"] if p.kind == "phone" and not p.is_premalignant]
    found = OutOfFold.of(folds, shown, data)
    read = {name: answers(bundle, name, found) for name in bundle.presets}
    return KindOfPhoto(learned=True, photos=len(found.split.photos), answers=read)


def write(bundle: Bundle, phone: KindOfPhoto, made_by: Mapping[str, Any]) -> None:
    """Put the kind into the manifest.

    Raises:
        DataError: the bundle has no gate, so nothing on the device would know the kind of a photo.
    """
    gate = bundle.manifest.gate
    if gate is None:
        raise DataError(f"{bundle.folder} has no gate", hint="fit one first: python -m training.gate.fit")
    manifest = replace(
        bundle.manifest,
        gate=replace(gate, kinds={**gate.kinds, "phone": phone}),
        provenance={**bundle.manifest.provenance, "phone": dict(made_by)},
    )
    write_text_atomic(bundle.folder / "manifest.json", manifest.to_text())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--fold", type=Path, action="append", required=True, help="a bundle; may be repeated")
    parser.add_argument("--data", type=Path, required=True, help="a collection, see training.data.collection")
    parser.add_argument("--cache", type=Path, default=Path("build/pixels"), help="decoded photos")
    args = parser.parse_args()
    bundle, folds = Bundle.load(args.bundle), [Bundle.load(fold) for fold in args.fold]
    phone = learned_phone(bundle, folds, Dataset.read(args.data, args.cache))
    made_by = {
        "command": "python -m training.bundle.kinds",
        "cross_validated": [{"bundle": f.id, "held_out": f.manifest.provenance["held_out"]} for f in folds],
    }
    write(bundle, phone, made_by)
    print(metrics.summary({name: own.quality[SPLIT] for name, (own, *_) in phone.answers.items()}))


if __name__ == "__main__":
    command.run(main)
