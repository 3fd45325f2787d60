"""A6: which of N known photos was it?

The attacker has the N candidates, computes their releases without noise and takes the nearest (`squared_distances` and
`metrics.top_k`): the maximum-likelihood choice for isotropic noise and equally likely candidates, so no attacker does
better on one release. With a whole batch of releases of distinct photos it solves the assignment problem (Kuhn 1955),
which can do better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ORDERS = 16
"""Of the candidates, over which the assignment of a batch is averaged."""


def assign(distances: NDArray[np.float64], seed: int, *, orders: int = ORDERS) -> NDArray[np.float64]:
    """The whole batch at once: release i is of candidate i; how often each is assigned rightly, ``(n,)`` in 0..1.

    Where many assignments are equally good the solver takes one by the candidates' position, which may not tell whose
    release it is and makes of one assignment a guess: so the share is that over several random orders of them.

    Args:
        distances: ``(n, n)`` from every observed release to every candidate's noise-free one.
        seed: of the orders.
        orders: how many.
    """
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(seed)
    right = np.zeros(len(distances))
    for _ in range(orders):
        order = rng.permutation(len(distances))
        rows, columns = linear_sum_assignment(distances[:, order])
        right[rows] += rows == order[columns]
    return right / orders


def label_only(
    gallery: NDArray[np.bool_], observed: NDArray[np.bool_], truth: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The floor: how often a guess among the candidates with the answer that was seen is right, ``(m,)``.

    Args:
        gallery: ``(n,)`` the tail's answer to each candidate's noise-free release.
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
