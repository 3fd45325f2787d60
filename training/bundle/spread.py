"""Between what an answer lies with 95 %: what noise and calibration leave open, measured on validation photos.

Two things move an answer though the photo stays the same. Another draw of the **noise** gives another one: so each
noised answer is compared with the noise-free answers of the photos that gave it. And the **calibration** was fitted on
some photos: so it is fitted again on bootstrap samples of the lesions. The interval holds the middle 95 % of both
together. How far the calibration is off on photos that it was not fitted on, the ECE on test photos, is not in it; the
device adds it (`securesplit.risk`), since it depends on the kind of photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.model.spread import Spread
from training.evaluation.calibration import platt
from training.evaluation.resampling import both_classes, lesion_samples

KNOTS = 16
REFITS = 200
FEWEST = 20
"""Answers at a knot; where fewer lie nearest to it, the nearest so many are taken."""
ENDS = (0.025, 0.975)


@dataclass(frozen=True)
class NoiseFree:
    """Answers of one preset to validation photos without noise, and calibrations that could have been fitted to them.

    Attributes:
        logits: ``(n,)``.
        knots: the logits at which the spread is measured, ``(k,)``, rising.
        fits: scale and offset, ``(REFITS, 2)``.
    """

    logits: NDArray[np.float64]
    knots: NDArray[np.float64]
    fits: NDArray[np.float64]

    @classmethod
    def measure(
        cls, logits: NDArray[Any], malignant: NDArray[Any], lesions: Sequence[str], *, seed: int = 1
    ) -> NoiseFree:
        """Refit on bootstrap samples; the photos of one lesion are drawn together.

        Args:
            logits: ``(n,)``.
            malignant: ``(n,)`` labels.
            lesions: ``(n,)`` which lesion each photo shows.
            seed: of the bootstrap.
        """
        samples = islice(both_classes(lesion_samples(np.asarray(lesions), seed=seed), malignant), REFITS)
        fits = [platt(logits[rows].astype(np.float32), malignant[rows]) for rows in samples]
        return cls(np.asarray(logits, np.float64), _knots(logits), np.array(fits))

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
        x = np.outer(clean, self.fits[:, 0]) + self.fits[:, 1]
        return np.asarray(np.quantile(1.0 / (1.0 + np.exp(-x)), ENDS))


def _knots(logits: NDArray[Any]) -> NDArray[Any]:
    """All answers that there are where they are few, else quantiles."""
    distinct = np.unique(np.round(np.asarray(logits, np.float64), 6))
    at = np.linspace(0, len(distinct) - 1, KNOTS)
    return distinct if len(distinct) <= KNOTS else distinct[at.round().astype(int)]
