"""ROC and reliability as pictures, from predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from securesplit.audit.plots import figure, png
from training.evaluation.metrics import reliability


def roc(scores: Mapping[str, NDArray[Any]], malignant: NDArray[Any], histology: NDArray[Any], file: Path) -> None:
    """One curve a name, on all photos and on histopathology-confirmed ones; scores are ``(draws * n,)``."""
    made, places = figure(10, 5, 2)
    proven = histology if 0 < malignant[histology].sum() < histology.sum() else np.ones_like(histology)
    for axes, rows, title in zip(
        places,
        (np.ones_like(histology), proven),
        ("all photos", "histopathology-confirmed"),
        strict=True,
    ):
        for name, score in scores.items():
            draws = score.reshape(-1, len(rows))[:, rows]
            labels = np.tile(malignant[rows], len(draws))
            alarms, found, _ = roc_curve(labels, draws.ravel())
            style = {"color": "grey", "linestyle": ":"} if name == "colour only" else {}
            axes.plot(alarms, found, label=f"{name}  {roc_auc_score(labels, draws.ravel()):.3f}", **style)
        axes.plot([0, 1], [0, 1], color="lightgrey", linewidth=0.8)
        axes.set(title=f"{title} ({int(rows.sum())})", xlabel="1 − specificity", ylabel="sensitivity")
        axes.legend(title="AUC", loc="lower right")
    file.write_bytes(png(made))


def calibration(raw: NDArray[Any], calibrated: Mapping[str, NDArray[Any]], malignant: NDArray[Any], file: Path) -> None:
    """Reliability of the raw answer and of each calibrated preset, over equally filled bins and all draws of noise."""
    made, (axes,) = figure(5.5, 5.5)
    axes.plot([0, 1], [0, 1], color="lightgrey", linewidth=0.8)
    for name, probability in {"before calibration": raw, **calibrated}.items():
        bins = reliability(probability, np.tile(malignant, len(probability) // len(malignant)))
        style = ":o" if name == "before calibration" else "-o"
        axes.plot([b[0] for b in bins], [b[1] for b in bins], style, markersize=4, label=name)
    axes.set(xlabel="mean probability of malignant", ylabel="share that is malignant")
    axes.legend(loc="upper left")
    file.write_bytes(png(made))
