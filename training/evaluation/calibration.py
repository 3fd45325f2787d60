"""From logits to probabilities and a threshold, and how far those probabilities can be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

SENSITIVITY = 0.90
"""The share of the malignant validation photos that a threshold calls malignant."""
LEAST_SCALE = 1e-3
"""A larger logit never means a smaller probability, also where noise has left hardly a slope to fit."""
LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 0.05, 20.0


def threshold_for_sensitivity(
    logits: NDArray[Any],
    malignant: NDArray[Any],
    sensitivity: float,
    *,
    answers: NDArray[Any] | None = None,
    least_gap: float = 0.0,
) -> float:
    """From where on at least `sensitivity` of the malignant photos are called malignant.

    It lies halfway between the least logit that is called so and the next smaller one: a release of a few levels has
    few logits, and none of them may depend on the last bit of a comparison. Logits that are nearer to each other than
    `least_gap` are called alike.

    Args:
        logits: of the photos that it is chosen by.
        malignant: their labels.
        sensitivity: share that must be reached.
        answers: other logits that occur, say those of levels that none of these photos has.
        least_gap: between two logits that the threshold may separate.
    """
    _, reached, thresholds = roc_curve(malignant, logits, drop_intermediate=False)
    least = float(thresholds[np.argmax(reached >= sensitivity)])
    known = logits if answers is None else np.concatenate([logits, answers])
    for below in map(float, np.unique(known[known < least])[::-1]):
        if least - below > least_gap:
            return (least + below) / 2
        least = below
    return least - 1.0


def platt(logits: NDArray[np.float32], malignant: NDArray[Any]) -> tuple[float, float]:
    """Scale and offset of Platt scaling (Platt 1999), fitted by maximum likelihood."""
    fitted = LogisticRegression(C=1e6).fit(logits[:, None], malignant)
    return max(LEAST_SCALE, float(fitted.coef_[0, 0])), float(fitted.intercept_[0])


def temperature(logits: NDArray[Any], malignant: NDArray[Any]) -> float:
    """The T of ``p = σ(logit / T)`` that makes the labels likeliest (Guo et al. 2017)."""
    signed = np.where(malignant, -logits, logits)

    def loss(log_temperature: float) -> float:
        return float(np.mean(np.logaddexp(0.0, signed / np.exp(log_temperature))))

    bounds = (np.log(LEAST_TEMPERATURE), np.log(LARGEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))


def expected_calibration_error(probability: NDArray[Any], malignant: NDArray[Any], bins: int = 10) -> float:
    """ECE over equally filled bins (Naeini et al. 2015), in 0..1; fewer bins where there are fewer photos."""
    order = np.argsort(probability)
    groups = [group for group in np.array_split(order, bins) if len(group)]
    gaps = [len(g) * abs(float(probability[g].mean()) - float(malignant[g].mean())) for g in groups]
    return sum(gaps) / len(order)


def reliability(probability: NDArray[Any], malignant: NDArray[Any], bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean probability, share that is malignant, photos) of equally filled bins, as the ECE uses them."""
    groups = np.array_split(np.argsort(probability), bins)
    return [(float(probability[g].mean()), float(malignant[g].mean()), len(g)) for g in groups if len(g)]
