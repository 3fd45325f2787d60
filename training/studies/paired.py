"""Two networks on the same photos: the AUC of one, and what it is more than that of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from training.data.photo import Photo, without_fold
from training.evaluation.measured import Figure
from training.evaluation.metrics import bootstrap

DRAWS = 500
Pair = tuple[Sequence[Photo], NDArray[np.float32], NDArray[np.float32]]
"""Photos, and their logits from a network and from another."""


def of_source(source: str, photos: Sequence[Photo], own: NDArray[np.float32], base: NDArray[np.float32]) -> Pair:
    """Those that count of `source`, of all its folds."""
    rows = [i for i, p in enumerate(photos) if without_fold(p.source) == source and not p.is_premalignant]
    return [photos[i] for i in rows], own[rows], base[rows]


def compared(pairs: Sequence[Pair]) -> dict[str, Figure]:
    """``auc`` and ``gain``, the mean over `pairs` of one source, with intervals over lesions drawn for all at once.

    Args:
        pairs: photos may stand in several of them.
    """
    known = {photo.path: photo for photos, *_ in pairs for photo in photos}
    place = {path: row for row, path in enumerate(known)}
    malignant = np.array([photo.malignant for photo in known.values()])
    filled = []
    for photos, *both in pairs:
        rows = [place[photo.path] for photo in photos]
        of_all = np.full((2, len(known)), np.nan, np.float32)
        of_all[:, rows] = both
        filled.append(of_all)

    def measure(rows: NDArray[np.intp]) -> dict[str, float]:
        own, base = (np.mean(list(_aucs(malignant, [both[i] for both in filled], rows))) for i in (0, 1))
        return {"auc": float(own), "gain": float(own - base)}

    return bootstrap(measure, np.array([photo.lesion for photo in known.values()]), malignant, draws=DRAWS)


def signed(gain: Figure) -> str:
    """A gain with its interval, each with its sign."""
    return f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"


def _aucs(
    malignant: NDArray[np.bool_], logits: Sequence[NDArray[np.float32]], rows: NDArray[np.intp]
) -> Iterator[float]:
    """Of each network on what it answered of `rows`; none where that is of one class."""
    for of_all in logits:
        answered = rows[np.isfinite(of_all[rows])]
        if 0 < malignant[answered].sum() < len(answered):
            yield float(roc_auc_score(malignant[answered], of_all[answered]))
