"""The baseline that every accuracy table carries: boosted trees on colour statistics, no network.

The hospitals of the public collections differ in colour and in how many malignant lesions they sent, so colour alone
separates the classes to a surprising degree. A network is worth what it adds to this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from securesplit.imaging import load_photo
from training.data.photo import Photo, readable

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


def colour_statistics(photos: Sequence[Photo]) -> NDArray[np.float64]:
    """Mean, spread and seven quantiles of each colour channel, ``(n, 27) float64``."""
    rows = []
    for photo in photos:
        with readable(photo.path):
            pixels = load_photo(photo.path, 64).reshape(-1, 3).astype(np.float64)
        rows.append(np.concatenate([pixels.mean(0), pixels.std(0), np.quantile(pixels, QUANTILES, axis=0).ravel()]))
    return np.array(rows)


def labels(photos: Sequence[Photo]) -> NDArray[np.bool_]:
    """``(n,) bool``, True for malignant."""
    return np.array([p.malignant for p in photos])


def colour_baselines(train: Sequence[Photo], others: Sequence[Sequence[Photo]]) -> list[NDArray[np.float64]]:
    """Scores of sets of photos, each a probability ``(n,) float64``, by boosted trees on the colours of `train`."""
    model = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.05, random_state=1)
    with threadpool_limits(1):  # so little work that threads only wait for each other, for minutes on a busy machine
        model.fit(colour_statistics(train), labels(train))
        return [np.asarray(model.predict_proba(colour_statistics(photos))[:, 1]) for photos in others]
