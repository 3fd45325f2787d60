"""A1: the ridge inverse, the closed form that costs seconds.

Least squares from release to photo (Hoerl and Kennard 1970), as the linear decoder of model-inversion studies
(Fredrikson et al., CCS 2015; He et al., ACSAC 2019). The noise is known, so its variance joins the penalty: that is
least squares over infinitely many noisy copies of each known photo. Maps are also inverted patch by patch, with shared
weights. Which way and which penalty is chosen on a tenth of the attacker's own photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from securesplit.privacy.attacks import patches
from securesplit.privacy.attacks.setting import Known, Releases
from securesplit.privacy.metrics import Photos, mse

PENALTIES = (1e-4, 1e-2, 1.0)
"""Shares of the features' mean variance."""
CELLS_TO_FIT = 60_000

Predictor = Callable[[Releases], Photos]


def reconstruct(known: Known, observed: Releases, sigma: float, seed: int) -> Photos:
    """Rebuild photos from releases; see `securesplit.privacy.attacks.setting.Reconstruction`."""
    return best(candidates(known, sigma, seed), known, sigma, seed)(observed)


def candidates(known: Known, sigma: float, seed: int) -> Iterable[Predictor]:
    """Every way to invert, fitted on nine tenths of what is known."""
    fit, _ = split(known)
    ways = [_whole, _by_cell] if known.clean.ndim == 4 else [_whole]
    return (way(fit, sigma, penalty, seed) for way in ways for penalty in PENALTIES)


def split(known: Known) -> tuple[Known, Known]:
    """Nine tenths to fit, one tenth to choose."""
    last = np.arange(len(known.photos)) % 10 == 9
    return tuple(Known(known.photos[m], known.clean[m], known.malignant[m]) for m in (~last, last))  # type: ignore[return-value]


def best(ways: Iterable[Predictor], known: Known, sigma: float, seed: int) -> Predictor:
    """The predictor of the smallest error on the tenth that was held out, seen through the noise."""
    _, held_out = split(known)
    noise = np.random.default_rng(seed).normal(0, 1, held_out.clean.shape) * sigma
    seen = (held_out.clean + noise).astype(np.float32)
    return min(ways, key=lambda way: float(mse(held_out.photos, way(seen)).mean()))


def _whole(known: Known, sigma: float, penalty: float, _seed: int) -> Predictor:
    x = known.clean.reshape(len(known.clean), -1).astype(np.float64)
    y = known.photos.reshape(len(known.photos), -1).astype(np.float64)
    predict = solve(x, y, sigma, penalty)
    shape = known.photos.shape[1:]
    return lambda seen: np.clip(predict(seen.reshape(len(seen), -1)), 0, 1).reshape(-1, *shape).astype(np.float32)


def _by_cell(known: Known, sigma: float, penalty: float, seed: int) -> Predictor:
    side = known.photos.shape[1]
    x, y = cells_to_fit(known, seed)
    predict = solve(x.astype(np.float64), y.astype(np.float64), sigma, penalty)

    def rebuild(seen: Releases) -> Photos:
        features = patches.cell_features(seen)
        flat = predict(features.reshape(-1, features.shape[-1]))
        return patches.from_patches(flat.reshape(*features.shape[:3], -1).astype(np.float32), side)

    return rebuild


def cells_to_fit(known: Known, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features and pixels of at most `CELLS_TO_FIT` random cells of the known maps."""
    per_map = known.clean.shape[1] * known.clean.shape[2]
    rng = np.random.default_rng(seed)
    photos = rng.permutation(len(known.clean))[: max(1, 4 * CELLS_TO_FIT // per_map)]
    features = patches.cell_features(known.clean[photos])
    targets = patches.to_patches(known.photos[photos], known.clean.shape[1])
    x, y = features.reshape(-1, features.shape[-1]), targets.reshape(-1, targets.shape[-1])
    chosen = rng.permutation(len(x))[:CELLS_TO_FIT]
    return x[chosen], y[chosen]


def solve(
    x: NDArray[np.float64], y: NDArray[np.float64], sigma: float, penalty: float
) -> Callable[[NDArray[np.floating]], NDArray[np.float64]]:
    """Ridge regression of ``(n, q)`` on ``(n, p)``; in its dual form where there are more features than photos."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    n, p = x.shape
    weight = n * (sigma**2 + penalty * float(np.square(x).mean()) + 1e-12)
    if p <= n:
        coefficients = np.linalg.solve(x.T @ x + weight * np.eye(p), x.T @ y)
    else:
        coefficients = x.T @ np.linalg.solve(x @ x.T + weight * np.eye(n), y)
    return lambda seen: np.asarray((seen - mean_x) @ coefficients + mean_y)
