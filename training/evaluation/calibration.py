"""From logits to probabilities and a threshold, and between what an answer lies with 95 %.

Two things move an answer though the photo stays the same. Another draw of the **noise** gives another one: so each
noised answer is compared with the noise-free answers of the photos that gave it. And the **calibration** was fitted on
some photos: so it is fitted again on bootstrap samples of the lesions. The interval holds the middle 95 % of both
together. How far the calibration is off on photos that it was not fitted on, the ECE on test photos, is not in it; the
device adds it (`securesplit.device.pipeline`), since it depends on the kind of photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from securesplit.model import Calibration
from securesplit.model.spread import Spread
from training.evaluation.metrics import both_classes, lesion_samples

SENSITIVITY = 0.95
"""The share of malignant photos that a threshold calls malignant (ADR 120)."""
ASSURANCE = 0.75
"""The share of bootstrap samples of the validation lesions in which it does so (ADR 168)."""
LEAST_LESIONS = math.ceil(math.log(1 - ASSURANCE) / math.log(SENSITIVITY))
"""28 of a class. A threshold below the answers to all n malignant lesions reaches the share p of others with 1 - pⁿ,
whatever their distribution (Wilks 1941): with fewer, not even that one does so in `ASSURANCE` of the cases."""
LEAST_SCALE = 1e-3
"""A larger logit never means a smaller probability, also where noise has left hardly a slope to fit."""
LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 0.05, 20.0
PRIOR_PHOTOS = 20.0
"""As many photos as Platt's probability counts for in `by_answer`."""
LEAST_RISE = 0.02
"""Of log-odds a unit of the logit, in `by_answer`: a threshold must fit between any two answers."""
KNOTS = 16
REFITS = 200
FEWEST = 20
"""Answers at a knot; where fewer lie nearest to it, the nearest so many are taken."""
ENDS = (0.025, 0.975)


def threshold_for_sensitivity(
    logits: NDArray[Any],
    malignant: NDArray[Any],
    sensitivity: float,
    *,
    lesions: NDArray[Any] | None = None,
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
        lesions: ``(n,)`` which lesion each photo shows; given, the share is reached in `ASSURANCE` of bootstrap samples
            of them, and not on these photos alone, which leave it to luck what others have.
        answers: other logits that occur, say those of levels that none of these photos has.
        least_gap: between two logits that the threshold may separate.
    """

    def least_called(rows: NDArray[Any] | slice) -> float:
        _, reached, thresholds = roc_curve(malignant[rows], logits[rows], drop_intermediate=False)
        return float(thresholds[np.argmax(reached >= sensitivity)])

    if lesions is None:
        least = least_called(slice(None))
    else:
        samples = islice(both_classes(lesion_samples(lesions), malignant), REFITS)
        least = float(np.quantile([least_called(rows) for rows in samples], 1 - ASSURANCE, method="lower"))
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


def line(logits: NDArray[np.float32], malignant: NDArray[Any]) -> Calibration:
    """Platt scaling."""
    return Calibration(*platt(logits, malignant))


def by_answer(logits: NDArray[np.float32], malignant: NDArray[Any]) -> Calibration:
    """For releases of a few levels: the share of each answer's own photos that is malignant, made to rise.

    A line cannot follow six levels whose shares it was not fitted for, and the share of few photos is luck. So each
    share is drawn towards Platt's probability, as if that were `PRIOR_PHOTOS` more (the mean of a beta-binomial), and
    neighbours out of order are pooled (isotonic regression).
    """
    scale, offset = platt(logits, malignant)
    answers, which = np.unique(logits.astype(np.float64), return_inverse=True)
    photos = np.bincount(which) + PRIOR_PHOTOS
    expected = PRIOR_PHOTOS / (1 + np.exp(-(scale * answers + offset)))
    share = (np.bincount(which, np.asarray(malignant, np.float64)) + expected) / photos
    pooled = np.clip(isotonic_regression(share, sample_weight=photos), 1e-6, 1 - 1e-6)
    odds = np.log(pooled / (1 - pooled)) - LEAST_RISE * answers
    rising = np.maximum.accumulate(odds) + LEAST_RISE * answers
    return Calibration(scale, offset, tuple(zip(answers.tolist(), rising.tolist(), strict=True)))


def temperature(logits: NDArray[Any], malignant: NDArray[Any]) -> float:
    """The T of ``p = σ(logit / T)`` that makes the labels likeliest (Guo et al. 2017)."""
    signed = np.where(malignant, -logits, logits)

    def loss(log_temperature: float) -> float:
        return float(np.mean(np.logaddexp(0.0, signed / np.exp(log_temperature))))

    bounds = (np.log(LEAST_TEMPERATURE), np.log(LARGEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))


Fit = Callable[[NDArray[np.float32], NDArray[Any]], Calibration]
"""Logits and labels -> a calibration: `line` or `by_answer`."""


@dataclass(frozen=True)
class NoiseFree:
    """Answers of one preset to validation photos without noise, and calibrations that could have been fitted to them.

    Attributes:
        logits: ``(n,)``.
        knots: the logits at which the spread is measured, ``(k,)``, rising.
        fits: `REFITS` of them.
    """

    logits: NDArray[np.float64]
    knots: NDArray[np.float64]
    fits: Sequence[Calibration]

    @classmethod
    def measure(
        cls, logits: NDArray[Any], malignant: NDArray[Any], lesions: NDArray[Any], *, fit: Fit = line, seed: int = 1
    ) -> NoiseFree:
        """Refit on bootstrap samples; the photos of one lesion are drawn together.

        Args:
            logits: ``(n,)``.
            malignant: ``(n,)`` labels.
            lesions: ``(n,)`` which lesion each photo shows.
            fit: what is fitted.
            seed: of the bootstrap.
        """
        samples = islice(both_classes(lesion_samples(lesions, seed=seed), malignant), REFITS)
        fits = [fit(logits[rows].astype(np.float32), malignant[rows]) for rows in samples]
        return cls(np.asarray(logits, np.float64), _knots(logits), fits)

    def spread(self, logits: NDArray[Any]) -> Spread:
        """The interval of answers with noise.

        Args:
            logits: ``(draws * n,)``, all photos of a draw together; without noise those of `logits` themselves.
        """
        clean = np.tile(self.logits, len(logits) // len(self.logits))
        nearest = np.abs(logits[:, None] - self.knots).argmin(1)
        ends = []
        for number, knot in enumerate(self.knots):
            rows = np.flatnonzero(nearest == number)
            if len(rows) < FEWEST:
                rows = np.abs(logits - knot).argsort(kind="stable")[:FEWEST]
            ends.append(self._interval(clean[rows] if (clean != logits).any() else np.array([knot])))
        low, high = np.array(ends).T
        return Spread(*(tuple(round(float(x), 6) for x in column) for column in (self.knots, low, high)))

    def _interval(self, clean: NDArray[Any]) -> NDArray[Any]:
        x = np.stack([fit.log_odds(clean) for fit in self.fits])
        return np.asarray(np.quantile(expit(x), ENDS))


def _knots(logits: NDArray[Any]) -> NDArray[Any]:
    """All answers that there are where they are few, else quantiles."""
    distinct = np.unique(np.round(np.asarray(logits, np.float64), 6))
    at = np.linspace(0, len(distinct) - 1, KNOTS)
    return distinct if len(distinct) <= KNOTS else distinct[at.round().astype(int)]
