"""What each output of a network is taught, and how much each photo counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Labelled
from training.data.photo import DX_CLASSES, DataError, sources_hint
from training.network.config import Config, sources_in

LARGEST_FACTOR = 5.0
"""Photos of a source's rare class weigh no more than this for it: a few of them would otherwise lead the training."""

Arrays = dict[str, NDArray[np.float32]]


def targets_and_weights(split: Labelled, config: Config) -> tuple[Arrays, Arrays]:
    """By output of a network with auxiliary ones (`training.network.model.add_outputs`), for every photo of `split`.

    A malignant photo counts `config.malignant_weight`, a benign one that was confirmed by histopathology
    `config.histology_weight`, both times `source_factors`; a diagnosis that is not known counts nothing.

    Returns:
        targets, ``(n, 1)`` for malignant and ``(n, 7)`` one-hot for the diagnosis, and sample weights ``(n,)``.
    """
    malignant = split.malignant[:, None]
    benign_weight = np.where(split.histology, config.histology_weight, 1.0)
    weight = np.where(split.malignant > 0, config.malignant_weight, benign_weight)
    weight = (weight * source_factors(split) ** config.source_balance).astype(np.float32)
    dx_weight = np.where(split.dx >= 0, weight, 0.0).astype(np.float32)
    dx = np.eye(len(DX_CLASSES), dtype=np.float32)[np.maximum(split.dx, 0)]
    targets = {"malignant": malignant, "cut_malignant": malignant, "dx": dx, "cut_dx": dx}
    return targets, {"malignant": weight, "cut_malignant": weight, "dx": dx_weight, "cut_dx": dx_weight}


def teacher_shares(split: Labelled, config: Config) -> NDArray[np.float32]:
    """How much of each photo's target is the teacher's answer, ``(n, 1)``: nothing where it does not teach the source.

    Raises:
        DataError: no photo is of a source that is to be taught.
    """
    taught = sources_in(config.taught_sources) or tuple(np.unique(split.source))
    if missing := set(taught) - set(split.source):
        message = f"no photo is of {', '.join(sorted(missing))}, which a teacher is to teach"
        raise DataError(message, hint=sources_hint(split.source))
    return np.where(np.isin(split.source, taught), config.teacher_share, 0.0).astype(np.float32)[:, None]


def source_factors(split: Labelled) -> NDArray[np.float64]:
    """Factors by which a photo's source stops telling its label, ``(n,)``.

    Within each source, both classes then weigh as they do in all sources together: P[label] / P[label | source]
    (reweighing, Kamiran and Calders 2012), between 1 / `LARGEST_FACTOR` and `LARGEST_FACTOR`.
    """
    malignant, source = split.malignant > 0, split.source
    factors = np.ones(len(malignant))
    for name in np.unique(source):
        for label in (False, True):
            here = (source == name) & (malignant == label)
            if here.any():
                factors[here] = (malignant == label).mean() / (here.sum() / (source == name).sum())
    return np.clip(factors, 1 / LARGEST_FACTOR, LARGEST_FACTOR)
