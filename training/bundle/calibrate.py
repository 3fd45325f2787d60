r"""Calibration, threshold and figures of a bundle, through its deployed halves.

    python -m training.bundle.calibrate --model BUNDLE --data DIR

measures a bundle again on other photos, a clinic's own say: its identity stays (ADR 002). Platt scaling and the
threshold come from the validation photos, with the noise of each preset and, for those who ask ``certified`` for a
smaller ε, with more; nothing is fitted on the test photos.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.device.release_step import OF_EPSILON
from securesplit.errors import BundleError
from securesplit.model import Bundle, Calibration, Manifest, NoiseCalibration
from securesplit.privacy.release import ReleaseSpec
from securesplit.text import counted
from training import command
from training.data.dataset import Dataset, Split
from training.data.photo import DataError
from training.evaluation import deployed, metrics
from training.evaluation.calibration import (
    LEAST_LESIONS,
    SENSITIVITY,
    Fit,
    NoiseFree,
    line,
    threshold_for_sensitivity,
)
from training.evaluation.metrics import expected_calibration_error
from training.output import changed_bundle

MORE_NOISE = tuple(round(0.25 * 2 ** (n / 2), 4) for n in range(-1, 13))  # σ/C; an ε from about 80 down to 0.4
MARGIN = 1e-7  # least distance of a threshold from every probability that can be answered, as a share of either


def measure_and_write(folder: Path, manifest: Manifest, data: Dataset) -> Manifest:
    """`measure`, and write the manifest.

    Args:
        folder: a draft of the bundle; its manifest is rewritten.
        manifest: what is known of it so far.
        data: validation and test photos; those through a dermatoscope count. `training.bundle.kinds` reads others.
    """
    written = measure(Bundle(folder, manifest), data, list(manifest.presets))
    written.write(folder)
    return written


def check_enough(data: Dataset) -> None:
    """Refuse so few lesions that no threshold can be assured by them, and no figure says anything.

    Args:
        data: validation and test photos; those through a dermatoscope count.

    Raises:
        DataError: validation or test has fewer than `LEAST_LESIONS` malignant or benign ones.
    """
    shown = data.of_kind("dermoscopy")
    for split in ("val", "test"):
        for label, found in shown.lesions(split).items():
            if found < LEAST_LESIONS:
                raise DataError(
                    f"{split} has {counted(found, f'{label} lesion')}, too few for a threshold or a figure",
                    hint=f"at least {LEAST_LESIONS} of each class are needed in val and in test: of {found} that are "
                    f"all called rightly, a share of {0.025 ** (1 / max(found, 1)):.0%} to 100% may be, by chance",
                )


def check_measurable(data: Dataset) -> None:
    """Refuse photos of one class, by which nothing is measured, and warn of `check_enough`: a bundle can be tried.

    Raises:
        DataError: validation or test photos through a dermatoscope are all of one class.
    """
    data.of_kind("dermoscopy").check_classes(("val", "test"))
    try:
        check_enough(data)
    except DataError as few:
        sys.stderr.write(f"warning: {few.message}\nhint: {few.hint}\n")


def measure(bundle: Bundle, data: Dataset, names: Sequence[str]) -> Manifest:
    """Calibrate presets on validation, and measure them on validation and test, through the deployed halves.

    Args:
        bundle: with both halves.
        data: validation and test photos, likewise.
        names: of the presets.

    Raises:
        DataError: validation or test photos through a dermatoscope are all of one class.
    """
    manifest, data = bundle.manifest, data.of_kind("dermoscopy").framed(bundle.manifest.framing)
    data.check_classes(("val", "test"))
    val = data.split("val", manifest.side)
    splits = {"validation": val, "test": data.split("test", manifest.side)}
    embeddings = {split: deployed.embed(bundle, photos) for split, photos in splits.items()}
    presets = dict(manifest.presets)
    for name, preset in ((name, manifest.presets[name]) for name in names):
        own = {split: e[name] for split, e in embeddings.items()}
        secrets = deployed.draws_of(preset.spec)
        logits = {s: deployed.drawn_logits(bundle, preset.spec, splits[s], e, secrets) for s, e in own.items()}
        clean = deployed.noise_free_logits(bundle, name, own["validation"])
        noise_free = NoiseFree.measure(clean, val.malignant, val.lesion)
        read = read_answers(preset.spec, logits, splits, noise_free, len(secrets))
        noisier = noise_calibrations(bundle, name, splits, own, noise_free)
        presets[name] = replace(
            preset,
            calibration=read.calibration,
            threshold=read.threshold,
            quality={**preset.quality, **read.quality},
            noise_calibrations=noisier,
            spread=read.spread,
        )
    return replace(manifest, presets=presets)


def read_answers(
    spec: ReleaseSpec,
    logits: Mapping[str, NDArray[np.float32]],
    splits: Mapping[str, Split],
    noise_free: NoiseFree,
    draws: int = 1,
    *,
    sensitivity: float = SENSITIVITY,
    fit: Fit = line,
) -> NoiseCalibration:
    """How answers under that noise are read, fitted on validation photos, and how good they are.

    Args:
        spec: the release and its noise.
        logits: by split, ``(draws * n,)``.
        splits: ``validation``, and ``test`` where that is to be measured.
        noise_free: answers to the validation photos without that noise.
        draws: of the noise of each photo.
        sensitivity: that the threshold has, by what the validation photos can assure.
        fit: what calibrates them.

    Raises:
        BundleError: a probability that can be answered lies at the threshold.
    """
    fitted = np.tile(splits["validation"].malignant, draws)
    calibration = fit(logits["validation"], fitted)
    lesions = np.tile(splits["validation"].lesion, draws)
    distance = {} if spec.levels is None else apart(calibration, logits)
    cutoff = threshold_for_sensitivity(logits["validation"], fitted, sensitivity, lesions=lesions, **distance)
    threshold = calibration.probability(cutoff)
    quality = {}
    for name, split in splits.items():
        probability = np.array([calibration.probability(x) for x in logits[name]])
        if spec.levels is not None:
            check_threshold(threshold, probability)
        ece = expected_calibration_error(probability, np.tile(split.malignant, draws))
        quality[name] = {**metrics.scores(logits[name], split, cutoff, draws=draws), "ece": round(ece, 4)}
    return NoiseCalibration(
        spec.sigma_per_clip, calibration, threshold, quality, noise_free.spread(logits["validation"])
    )


def apart(calibration: Calibration, logits: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """What a threshold keeps a distance from: every answer that occurs, in whichever split, whatever its label."""
    return {"answers": np.concatenate(list(logits.values())), "least_gap": least_gap(calibration)}


def least_gap(calibration: Calibration) -> float:
    """Logits this far apart have probabilities between which a threshold keeps `MARGIN` from both.

    The slope of p over the logit is that of the log-odds times p · (1 - p), and the threshold lies halfway.
    """
    rises = [(b - a) / (y - x) for (x, a), (y, b) in itertools.pairwise(calibration.knots)]
    return 4 * MARGIN / min([calibration.scale, *rises])


def check_threshold(threshold: float, probabilities: NDArray[np.float64]) -> None:
    """No answer of a release of a few levels may hang on the last bit of a comparison.

    Raises:
        BundleError: a probability lies within `MARGIN` of the threshold, as a share of it or of what is left to 1.
    """
    nearest = float(probabilities[np.abs(probabilities - threshold).argmin()])
    if abs(nearest - threshold) <= MARGIN * min(threshold, 1 - threshold):
        raise BundleError(
            f"the threshold {threshold} lies at the probability {nearest}, which the tail answers",
            hint="choose it between two levels",
        )


def noise_calibrations(
    bundle: Bundle,
    name: str,
    splits: Mapping[str, Split],
    embeddings: Mapping[str, Sequence[NDArray[np.float32]]],
    noise_free: NoiseFree,
    *,
    sensitivity: float = SENSITIVITY,
) -> tuple[NoiseCalibration, ...]:
    """How answers are read under more noise than the preset's own, where a device can ask for it, and their worth."""
    spec = bundle.presets[name].spec
    if not spec.sigma_per_clip or name != OF_EPSILON:
        return ()
    sigmas = [sigma for sigma in MORE_NOISE if sigma > spec.sigma_per_clip]
    secrets = deployed.draws_of(spec)

    def read(noisier: ReleaseSpec) -> NoiseCalibration:
        logits = {
            split: deployed.drawn_logits(bundle, noisier, photos, embeddings[split], secrets)
            for split, photos in splits.items()
        }
        return read_answers(noisier, logits, splits, noise_free, len(secrets), sensitivity=sensitivity)

    return tuple(read(replace(spec, sigma_per_clip=sigma)) for sigma in sigmas)


def quality_table(manifest: Manifest) -> str:
    """For people: what every preset is worth on validation and test photos."""
    return "\n".join(
        f"{split}\n{metrics.summary({name: preset.quality[split] for name, preset in manifest.presets.items()})}"
        for split in ("validation", "test")
    )


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--run", type=Path, default=Path("build/measure"), help="beside it pixels are cached")
    args = parser.parse_args()
    data = Dataset.read(args.data, args.run.parent / "pixels")
    check_enough(data)
    bundle = Bundle.load(args.bundle)
    with changed_bundle(bundle) as own:
        manifest = measure_and_write(own, bundle.manifest, data)
    print(quality_table(manifest))


if __name__ == "__main__":
    command.run(main)
