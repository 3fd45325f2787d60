"""A7: the gallery holds a different photo of the same lesion.

Person re-identification's setting. The attacker learns from pairs of its own how far two photos of one lesion lie apart
and adds the noise, both as covariances: the Mahalanobis distance is then the likelihood-ratio score of Gaussian
models (KISSME, Köstinger et al., CVPR 2012). A release of one number of few values is also compared by the likelihood
itself: how often, among the attacker's own pairs, that value was seen beside that one. The plain distance is tried too
and the best way counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.attacks.baselines import squared_distances
from securesplit.audit.attacks.setting import Releases

MAX_NUMBERS = 512
"""Longer releases are compared by the plain distance only."""
MAX_VALUES = 64
"""Up to so many different noise-free values of a one-number release are counted."""


def pairs(lesions: Sequence[str]) -> NDArray[np.intp]:
    """Indices ``(p, 2)`` of two different photos of each lesion that has two."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, lesion in enumerate(lesions):
        members[lesion].append(index)
    return np.array([found[:2] for found in members.values() if len(found) > 1], np.intp).reshape(-1, 2)


def scores(
    gallery: Releases, observed: Releases, sigma: float, own_pairs: tuple[Releases, Releases] | None
) -> list[NDArray[np.float64]]:
    """``(m, n)`` scores, higher is likelier the same lesion, one matrix for each way to compare.

    Args:
        gallery: ``(n, *shape)`` noise-free releases of the candidates' other photos.
        observed: ``(m, *shape)`` noisy releases.
        sigma: of the noise, embedding units.
        own_pairs: noise-free releases of the attacker's own pairs, first and second photos; None: it has none.
    """
    ways = [-squared_distances(gallery, observed)]
    numbers = int(np.prod(gallery.shape[1:]))
    if own_pairs is not None and len(own_pairs[0]) > numbers and numbers <= MAX_NUMBERS:
        whiten = _whitening(*own_pairs, sigma)
        ways.append(-squared_distances(_flat(gallery) @ whiten, _flat(observed) @ whiten))
        values = np.unique(np.concatenate([np.ravel(releases) for releases in (*own_pairs, gallery)]))
        if numbers == 1 and len(values) <= MAX_VALUES:
            ways.append(_counted(values, gallery, observed, sigma, own_pairs))
    return ways


def _counted(
    values: Releases, gallery: Releases, observed: Releases, sigma: float, own_pairs: tuple[Releases, Releases]
) -> NDArray[np.float64]:
    """Ln P[observed | gallery] over the noise-free values in between, from counts of pairs in both orders."""
    first, second = (np.searchsorted(values, np.ravel(releases)) for releases in own_pairs)
    counts = np.full((len(values), len(values)), 1 / len(values))  # one pseudo-count a row
    np.add.at(counts, (first, second), 1.0)
    np.add.at(counts, (second, first), 1.0)
    beside = counts / counts.sum(1, keepdims=True)  # P[noise-free value of the one photo | value of the other]
    distances = np.square(np.ravel(observed)[:, None].astype(np.float64) - values)
    seen = np.exp(-distances / (2 * sigma**2)) if sigma else (distances == distances.min(1, keepdims=True)) * 1.0
    likelihood = seen @ beside[np.searchsorted(values, np.ravel(gallery))].T
    return np.asarray(np.log(likelihood + 1e-300))


def _whitening(first: Releases, second: Releases, sigma: float) -> NDArray[np.float32]:
    """The linear map after which two photos of one lesion, one of them noisy, differ by a unit covariance."""
    differences = _flat(first) - _flat(second)
    numbers = differences.shape[1]
    within = differences.T @ differences / len(differences) + sigma**2 * np.eye(numbers)
    values, vectors = np.linalg.eigh(within + 1e-9 * np.trace(within) / numbers * np.eye(numbers))
    return np.asarray(vectors / np.sqrt(values), np.float32)


def _flat(releases: Releases) -> Releases:
    return releases.reshape(len(releases), -1)
