"""Measure a bundle as deployed and write its model card, figures and plots.

    python -m training.evaluation.report --model BUNDLE --data DIR --out OUT [--fold FOLD]

Thresholds and calibration are the bundle's own, fixed on validation photos; everything here is measured on the test
photos. ``figures.json`` holds every number of the card. With folds, `DIR` is a collection of data sets, and the card
has the figures of `training.evaluation.groups` too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from securesplit.model import Bundle, Preset
from securesplit.text import rounded_up
from training import command
from training.data.dataset import Dataset
from training.evaluation import groups, metrics, model_card, plots
from training.evaluation.calibration import (
    SENSITIVITY,
    temperature,
    threshold_for_sensitivity,
)
from training.evaluation.measured import Counts, Figure, Measured, PresetFigures
from training.evaluation.metrics import expected_calibration_error
from training.evaluation.predictions import Predictions, predict
from training.output import write_json

DRAWS = 1000


def measure(bundle: Bundle, predictions: Predictions, draws: int = DRAWS) -> Measured:
    """Every figure of the card."""
    malignant, photos = predictions.malignant("test"), predictions.photos["test"]
    presets = {name: _preset(predictions, preset, draws) for name, preset in bundle.presets.items()}
    default = bundle.preset()
    probability = _probability(predictions, default)["test"][: len(malignant)]  # of one draw
    return {
        "bundle": bundle.id,
        "name": bundle.manifest.name,
        "counts": {split: _counts(predictions, split) for split in predictions.photos},
        "presets": presets,
        "floor": _baseline(predictions, draws),
        "default_preset": default.spec.preset,
        "strata": metrics.by_stratum(
            probability,
            *(malignant, photos),
            threshold=default.threshold,
            draws=max(10, draws // 4),
            baseline=predictions.baseline["test"],
        ),
    }


def _counts(predictions: Predictions, split: str) -> Counts:
    malignant = predictions.malignant(split)
    return {
        "photos": len(malignant),
        "malignant": int(malignant.sum()),
        "lesions": len(set(predictions.lesions(split))),
        "histology": int(predictions.histology(split).sum()),
    }


def _baseline(predictions: Predictions, draws: int) -> dict[str, Figure]:
    """The colour-only model as a preset is measured: its threshold too is fixed on validation photos."""
    threshold = threshold_for_sensitivity(predictions.baseline["val"], predictions.malignant("val"), SENSITIVITY)
    return _of_answers(predictions, predictions.baseline["test"], threshold, draws)


def _of_answers(
    predictions: Predictions, probability: NDArray[np.float64], threshold: float, draws: int
) -> dict[str, Figure]:
    """Figures of answers to the test photos, of as many draws of the noise as there are."""
    return metrics.of_answers(
        probability,
        _like(probability, predictions.malignant("test")),
        _like(probability, predictions.histology("test")),
        _like(probability, predictions.lesions("test")),
        threshold=threshold,
        draws=draws,
    )


def _like(answers: NDArray[Any], each: NDArray[Any]) -> NDArray[Any]:
    """What is known of each photo ``(n,)``, for every answer ``(draws * n,)``."""
    return np.tile(each, len(answers) // len(each))


def _probability(predictions: Predictions, preset: Preset) -> dict[str, NDArray[np.float64]]:
    """Calibrated probabilities of both splits, ``(n,)`` each."""
    return {
        split: np.array([preset.calibration.probability(float(x)) for x in by_preset[preset.spec.preset]])
        for split, by_preset in predictions.logits.items()
    }


def _preset(predictions: Predictions, preset: Preset, draws: int) -> PresetFigures:
    raw, known = (predictions.logits[split][preset.spec.preset].astype(np.float64) for split in ("test", "val"))
    malignant = _like(raw, predictions.malignant("test"))
    labels, proven = (_like(known, each) for each in (predictions.malignant("val"), predictions.histology("val")))
    fitted = temperature(known, labels)
    return {
        "test": _of_answers(predictions, _probability(predictions, preset)["test"], preset.threshold, draws),
        "threshold": preset.threshold,
        "ece_before": expected_calibration_error(expit(raw), malignant),
        "ece_temperature": expected_calibration_error(expit(raw / fitted), malignant),
        "temperature": fitted,
        "validation_auc": metrics.ranking(known, labels, proven)["auc"],
        "release_bytes": preset.spec.size * np.dtype(preset.spec.dtype).itemsize,
        "epsilon": rounded_up(preset.spec.loss.epsilon(), 3) if preset.spec.sigma_per_clip else None,
        "identification_bound_n1000": rounded_up(preset.spec.loss.identification_bound(1000), 4)
        if preset.spec.sigma_per_clip
        else None,
    }


def write(out: Path, bundle: Bundle, predictions: Predictions, measured: Measured, command: str) -> None:
    """``figures.json``, ``roc.png``, ``reliability.png`` and ``MODEL_CARD.md`` in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "figures.json", measured)
    malignant = predictions.malignant("test")
    scores: dict[str, Any] = {**predictions.logits["test"], "colour only": predictions.baseline["test"]}
    plots.roc(scores, malignant, predictions.histology("test"), out / "roc.png")
    calibrated = {name: _probability(predictions, preset)["test"] for name, preset in bundle.presets.items()}
    raw = expit(predictions.logits["test"][bundle.preset().spec.preset].astype(np.float64))
    plots.calibration(raw, calibrated, malignant, out / "reliability.png")
    (out / "MODEL_CARD.md").write_text(model_card.render(bundle.manifest, measured, command), encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--model", type=Path, help="bundle folder (default: the one in the package)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--out", type=Path, default=Path("docs/model_card"))
    parser.add_argument("--cache", type=Path, default=Path("build/report"), help="logits that were computed before")
    parser.add_argument("--draws", type=command.whole(1), default=DRAWS, help="bootstrap samples")
    parser.add_argument("--fold", type=Path, action="append", default=[], help="see training.evaluation.groups")
    args = parser.parse_args()
    bundle, data = Bundle.load(args.model), Dataset.read(args.data, args.cache.parent / "pixels")
    predictions = predict(bundle, data.of_kind("dermoscopy"), args.cache)
    measured = measure(bundle, predictions, args.draws)
    if args.fold:
        folds = [Bundle.load(fold) for fold in args.fold]
        measured["groups"] = groups.measure(groups.answered(bundle, "none", folds, data), args.draws)
    name = ("" if args.model is None else " --model BUNDLE") + " --fold FOLD" * len(args.fold)
    write(
        args.out,
        bundle,
        predictions,
        measured,
        f"python -m training.evaluation.report{name} --data DIR --out OUT",
    )
    print((args.out / "MODEL_CARD.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    command.run(main)
