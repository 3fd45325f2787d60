"""Calibration, threshold and figures of a fresh bundle, through its deployed halves.

Platt scaling and the threshold come from the validation photos, with the noise of each preset; nothing is fitted on
the test photos.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from securesplit.model import Bundle, Calibration, Manifest, Preset
from training import data, evaluate

SENSITIVITY = 0.90  # the threshold calls this share of the malignant validation photos
SECRET = b"securesplit evaluation secret 01"  # 32 bytes; keys the noise of the measurement only


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
    val_logits, test_logits = (evaluate.deployed_logits(bundle, split, SECRET) for split in (val, test))
    presets = {
        name: _calibrated(preset, (val_logits[name], val), (test_logits[name], test))
        for name, preset in manifest.presets.items()
    }
    written = replace(manifest, presets=presets)
    (folder / "manifest.json").write_text(json.dumps(written.to_json(), indent=2) + "\n")
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
