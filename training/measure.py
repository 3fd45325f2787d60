r"""Calibration, threshold and figures of a bundle, through its deployed halves.

    python -m training.measure --bundle BUNDLE --data DIR

measures a bundle anew on other photos, a clinic's own say: its identity stays (ADR 002). Platt scaling and the
threshold come from the validation photos, with the noise of each preset and, for those who ask for a smaller ε, with
more; nothing is fitted on the test photos.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.model import Bundle, Calibration, Manifest, Preset, Reading
from training import data, evaluate

SENSITIVITY = 0.90  # the threshold calls this share of the malignant validation photos
SECRET = b"securesplit evaluation secret 01"  # 32 bytes; keys the noise of the measurement only
MORE_NOISE = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # σ/C; an ε from about 70 down to 0.5
DRAWS = 4


def measure_and_write(folder: Path, manifest: Manifest, run: Path, root: Path) -> Manifest:
    """Calibrate on validation, measure on validation and test through the deployed halves, and write the manifest.

    Args:
        folder: of the bundle; its manifest is written anew.
        manifest: what is known of it so far.
        run: folder of the run, beside whose pixels are cached.
        root: data folder, see `training.data`.
    """
    bundle = Bundle(folder, manifest)
    photos = data.list_photos(root)
    height, width, cache = manifest.side, manifest.side * 4 // 3, run.parent / "pixels"
    val, test = (data.load_split(photos[s], height=height, width=width, cache=cache) for s in ("val", "test"))
    embeddings = evaluate.embed(bundle, val)
    val_logits = evaluate.deployed_logits(bundle, val, SECRET, embeddings)
    test_logits = evaluate.deployed_logits(bundle, test, SECRET)
    presets = {
        name: _calibrated(preset, (val_logits[name], val), (test_logits[name], test))
        for name, preset in manifest.presets.items()
    }
    presets |= {
        name: replace(preset, readings=_readings(bundle, name, val, embeddings[name]))
        for name, preset in presets.items()
        if preset.spec.sigma_per_clip
    }
    written = replace(manifest, presets=presets)
    (folder / "manifest.json").write_text(json.dumps(written.to_json(), indent=2, allow_nan=False) + "\n")
    return written


def _calibrated(preset: Preset, val: tuple[Any, data.Split], test: tuple[Any, data.Split]) -> Preset:
    (val_logits, val_split), (test_logits, test_split) = val, test
    calibration = Calibration(*evaluate.platt(val_logits, val_split.malignant))
    cutoff = evaluate.threshold_for_sensitivity(val_logits, val_split.malignant, SENSITIVITY)
    quality: dict[str, Any] = {}
    for name, logits, split in (("validation", val_logits, val_split), ("test", test_logits, test_split)):
        probability = np.array([calibration.probability(x) for x in logits])
        ece = evaluate.expected_calibration_error(probability, split.malignant)
        quality[name] = {**evaluate.scores(logits, split, cutoff), "ece": round(ece, 4)}
    return replace(
        preset,
        calibration=calibration,
        threshold=calibration.probability(cutoff),
        quality={**preset.quality, **quality},
    )


def _readings(
    bundle: Bundle, name: str, val: data.Split, embeddings: Sequence[NDArray[np.float32]]
) -> tuple[Reading, ...]:
    """How answers are read under more noise than the preset's own."""
    sigmas = [sigma for sigma in MORE_NOISE if sigma > bundle.presets[name].spec.sigma_per_clip]
    secrets = [bytes([draw]) + SECRET[1:] for draw in range(DRAWS)]
    labels = np.tile(val.malignant, DRAWS)
    readings = []
    for sigma, logits in evaluate.noisier_logits(bundle, name, val, embeddings, sigmas, secrets).items():
        calibration = Calibration(*evaluate.platt(logits, labels))
        cutoff = evaluate.threshold_for_sensitivity(logits, labels, SENSITIVITY)
        readings.append(Reading(sigma, calibration, calibration.probability(cutoff)))
    return tuple(readings)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--run", type=Path, default=Path("build/measure"), help="beside it pixels are cached")
    args = parser.parse_args()
    manifest = measure_and_write(args.bundle, Bundle.load(args.bundle).manifest, args.run, args.data)
    for split in ("validation", "test"):
        print(split, evaluate.summary({n: p.quality[split] for n, p in manifest.presets.items()}), sep="\n")


if __name__ == "__main__":
    main()
