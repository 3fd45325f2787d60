"""A0: what an attacker rebuilds who learns nothing but the answer. Every other attack is measured against these.

A mean image alone scored SSIM 0.145 in one published evaluation: without its baseline a score means nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.metrics import Photos
from securesplit.audit.setting import AttackerKnowledge, Releases


def mean_image(known: AttackerKnowledge, count: int) -> Photos:
    """The mean of all known photos, `count` times."""
    return np.repeat(known.photos.mean(0, keepdims=True), count, axis=0)


def class_mean(known: AttackerKnowledge, malignant: NDArray[np.bool_]) -> Photos:
    """For each target the mean of the known photos that get the same answer, ``(m, side, side, 3)``."""
    means = {bool(a): _mean_of(known, known.malignant == a) for a in (False, True)}
    return np.stack([means[bool(a)] for a in malignant])


def _mean_of(known: AttackerKnowledge, members: NDArray[np.bool_]) -> Photos:
    chosen = known.photos[members] if members.any() else known.photos
    mean: Photos = chosen.mean(0)
    return mean


def random_of_class(known: AttackerKnowledge, malignant: NDArray[np.bool_], seed: int) -> Photos:
    """For each target a random known photo that gets the same answer."""
    rng = np.random.default_rng(seed)
    pools = {bool(a): np.flatnonzero(known.malignant == a) for a in (False, True)}
    everyone = np.arange(len(known.photos))
    return np.stack([known.photos[rng.choice(p if len(p := pools[bool(a)]) else everyone)] for a in malignant])


def nearest(known: AttackerKnowledge, observed: Releases) -> Photos:
    """For each target the known photo whose release is the nearest."""
    return known.photos[nearest_index(known.noise_free, observed)]


def nearest_index(gallery: Releases, observed: Releases) -> NDArray[np.intp]:
    """Index of the nearest of ``(n, *shape)`` for each of ``(m, *shape)``."""
    return np.asarray(squared_distances(gallery, observed).argmin(1))


def squared_distances(gallery: Releases, observed: Releases) -> NDArray[np.float64]:
    """``(m, n)`` squared distances between every observed release and every one of the gallery."""
    g = gallery.reshape(len(gallery), -1).astype(np.float64)
    o = observed.reshape(len(observed), -1).astype(np.float64)
    return np.asarray(np.maximum((o**2).sum(1)[:, None] - 2 * o @ g.T + (g**2).sum(1), 0.0))
