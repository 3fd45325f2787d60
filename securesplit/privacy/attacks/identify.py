"""A6: which of N known photos was it?

The attacker has the N candidates, computes their clean releases and takes the nearest (`floors.squared_distances` and
`metrics.top_k`): the maximum-likelihood choice for isotropic noise and equally likely candidates, so no attacker does
better on one release. With a whole batch of releases of distinct photos it solves the assignment problem (Kuhn 1955),
which can do better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign(distances: NDArray[np.float64], seed: int) -> NDArray[np.bool_]:
    """The whole batch at once: release i is of candidate i; whether each was assigned rightly.

    Args:
        distances: ``(n, n)`` from every observed release to every candidate's clean one.
        seed: of the candidates' order. Where many assignments are equally good the solver takes one by position, and
            nobody's position may tell whose release it is.
    """
    from scipy.optimize import linear_sum_assignment

    order = np.random.default_rng(seed).permutation(len(distances))
    rows, columns = linear_sum_assignment(distances[:, order])
    right = np.zeros(len(distances), bool)
    right[rows] = rows == order[columns]
    return right


def label_only(
    gallery: NDArray[np.bool_], observed: NDArray[np.bool_], truth: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The floor: how often a guess among the candidates with the answer that was seen is right, ``(m,)``.

    Args:
        gallery: ``(n,)`` the tail's answer to each candidate's clean release.
        observed: ``(m,)`` the tail's answer to each noisy release.
        truth: ``(m,)`` index of each one's photo in the gallery.
    """
    counts = {answer: max(1, int((gallery == answer).sum())) for answer in (False, True)}
    sizes = np.array([counts[bool(answer)] for answer in observed])
    return np.where(gallery[truth] == observed, 1 / sizes, 0.0)


def draw_galleries(photos: int, size: int, decisions: int, seed: int) -> list[NDArray[np.intp]]:
    """Random sets of `size` photos to choose among, so many that `decisions` photos are picked; one if it takes all."""
    rng = np.random.default_rng(seed)
    rounds = -(-decisions // size) if size < photos else 1
    return [rng.permutation(photos)[:size] for _ in range(rounds)]
