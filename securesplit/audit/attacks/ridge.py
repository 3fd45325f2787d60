"""A1: the ridge inverse, the closed form that costs seconds.

Least squares from release to photo (Hoerl and Kennard 1970), as the linear decoder of model-inversion studies
(Fredrikson et al., CCS 2015; He et al., ACSAC 2019). The noise is known, so its variance joins the penalty: that is
least squares over infinitely many noisy copies of each known photo. Maps are also inverted patch by patch, with shared
weights. Which way and which penalty is chosen on a tenth of the attacker's own photos.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import patches
from securesplit.audit.attack import AttackSpec, one_step
from securesplit.audit.context import AuditContext
from securesplit.audit.metrics import Photos, mse
from securesplit.audit.reconstruction import RECONSTRUCTION, ReconstructionResult, score
from securesplit.audit.setting import AttackerKnowledge, Releases
from securesplit.i18n import gettext_noop

PENALTIES = (1e-4, 1e-2, 1.0)
"""Shares of the features' mean variance."""
CELLS_TO_FIT = 30_000
AT_ONCE = 1024
"""Columns that are turned to float64 together."""

Predictor = Callable[[Releases], Photos]
Linear = Callable[[NDArray[Any]], NDArray[np.float64]]


def reconstruct(known: AttackerKnowledge, observed: Releases, sigma: float, seed: int) -> Photos:
    """Rebuild photos from releases; see `securesplit.audit.setting.Reconstruction`."""
    return best(candidates(known, sigma, seed), known, sigma, seed)(observed)


def candidates(known: AttackerKnowledge, sigma: float, seed: int) -> Iterable[Predictor]:
    """Every way to invert, fitted on nine tenths of what is known."""
    fit = split(known)[0]
    yield from _whole(fit, sigma)
    if known.noise_free.ndim == 4:
        yield from _by_cell(fit, sigma, seed)


def split(known: AttackerKnowledge) -> tuple[AttackerKnowledge, AttackerKnowledge]:
    """Nine tenths to fit, one tenth to choose."""
    last = np.arange(len(known.photos)) % 10 == 9
    fit, held_out = (AttackerKnowledge(known.photos[m], known.noise_free[m], known.malignant[m]) for m in (~last, last))
    return fit, held_out


def best(ways: Iterable[Predictor], known: AttackerKnowledge, sigma: float, seed: int) -> Predictor:
    """The predictor of the smallest error on the tenth that was held out, seen through the noise."""
    held_out = split(known)[1]
    noise = np.random.default_rng(seed).normal(0, 1, held_out.noise_free.shape) * sigma
    seen = (held_out.noise_free + noise).astype(np.float32)
    return min(ways, key=lambda way: float(mse(held_out.photos, way(seen)).mean()))


def _whole(known: AttackerKnowledge, sigma: float) -> Iterable[Predictor]:
    shape = known.photos.shape[1:]

    def as_photos(linear: Linear) -> Predictor:
        return lambda seen: np.clip(linear(seen.reshape(len(seen), -1)), 0, 1).reshape(-1, *shape).astype(np.float32)

    x, y = (a.reshape(len(a), -1) for a in (known.noise_free, known.photos))
    return (as_photos(linear) for linear in solve(x, y, sigma))


def _by_cell(known: AttackerKnowledge, sigma: float, seed: int) -> Iterable[Predictor]:
    side = known.photos.shape[1]

    def as_photos(linear: Linear) -> Predictor:
        def rebuild(seen: Releases) -> Photos:
            features = patches.cell_features(seen)
            flat = linear(features.reshape(-1, features.shape[-1]))
            return patches.from_patches(flat.reshape(*features.shape[:3], -1).astype(np.float32), side)

        return rebuild

    return (as_photos(linear) for linear in solve(*cells_to_fit(known, seed), sigma))


def cells_to_fit(known: AttackerKnowledge, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features and pixels of at most `CELLS_TO_FIT` random cells of the known maps."""
    per_map = known.noise_free.shape[1] * known.noise_free.shape[2]
    rng = np.random.default_rng(seed)
    photos = rng.permutation(len(known.noise_free))[: max(1, 2 * CELLS_TO_FIT // per_map)]
    features = patches.cell_features(known.noise_free[photos])
    targets = patches.to_patches(known.photos[photos], known.noise_free.shape[1])
    x, y = features.reshape(-1, features.shape[-1]), targets.reshape(-1, targets.shape[-1])
    chosen = rng.permutation(len(x))[:CELLS_TO_FIT]
    return x[chosen], y[chosen]


def solve(x: NDArray[np.float32], y: NDArray[np.float32], sigma: float) -> Iterable[Linear]:
    """Ridge regression of ``(n, q)`` on ``(n, p)``, one for each penalty; dual where features outnumber photos."""
    mean_x, mean_y = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    centred = x - mean_x  # Gram matrices need float64: penalties are small
    right = np.subtract(y, mean_y, out=np.empty(y.shape, np.float32), dtype=np.float64, casting="same_kind")
    n, p = centred.shape
    weights = _weights(centred, sigma)
    if p <= n:
        return _primal(centred, right, mean_x, mean_y, weights)
    return _dual(centred, right, mean_x, mean_y, weights)


def _weights(centred: NDArray[np.float64], sigma: float) -> list[float]:
    """What each penalty adds to the diagonal of the Gram matrix."""
    variance = float(np.vdot(centred, centred)) / centred.size
    return [len(centred) * (sigma**2 + penalty * variance + 1e-12) for penalty in PENALTIES]


def _penalised(gram: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """A copy with the weight on its diagonal."""
    found = gram.copy()
    found.flat[:: len(gram) + 1] += weight
    return found


def coefficients(
    x: NDArray[np.float32], y: NDArray[Any], sigma: float
) -> Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """`solve` as weights ``(p, q)`` and biases ``(q,)``, for few targets q: by the smaller of the two Gram matrices."""
    mean_x, mean_y = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    centred, right = x - mean_x, y - mean_y
    dual = centred.shape[1] > len(centred)
    gram = centred @ centred.T if dual else centred.T @ centred
    for weight in _weights(centred, sigma):
        solved = np.linalg.solve(_penalised(gram, weight), right if dual else centred.T @ right)
        found = centred.T @ solved if dual else solved
        yield found, mean_y - mean_x @ found


def _primal(
    x: NDArray[np.float64], y: NDArray[np.float32], mean_x: Any, mean_y: Any, weights: list[float]
) -> Iterable[Linear]:
    gram = x.T @ x
    right = np.concatenate([x.T @ y[:, at : at + AT_ONCE] for at in range(0, y.shape[1], AT_ONCE)], 1)
    for weight in weights:
        solved = np.linalg.solve(_penalised(gram, weight), right)
        yield functools.partial(lambda solved, seen: (seen - mean_x) @ solved + mean_y, solved)


def _dual(
    x: NDArray[np.float64], y: NDArray[np.float32], mean_x: Any, mean_y: Any, weights: list[float]
) -> Iterable[Linear]:
    """The same solution without its coefficients: what is seen is expressed by the known photos, which are few."""
    from scipy.linalg import cho_factor, cho_solve

    gram = x @ x.T
    for weight in weights:
        factor = cho_factor(_penalised(gram, weight), overwrite_a=True, check_finite=False)

        def predict(seen: NDArray[Any], factor: Any = factor) -> NDArray[np.float64]:
            shares = cho_solve(factor, x @ (seen - mean_x).T, check_finite=False).T
            return np.asarray(shares.astype(np.float32) @ y + mean_y, np.float64)

        yield predict


def run(context: AuditContext, preset: str) -> ReconstructionResult:
    """The ridge inverse of one preset."""
    known, sigma = context.known(preset), context.sigma(preset)
    return score(context, preset, "A1", lambda seed, seen, *_: reconstruct(known, seen, sigma, seed))


SPEC = AttackSpec(
    id="A1",
    name=gettext_noop("Linear inverse"),
    description=gettext_noop(
        "The best weighted sum of a release's numbers for each pixel, fitted on the attacker's photos."
    ),
    result_type=ReconstructionResult,
    steps=one_step(run),
    goals=(RECONSTRUCTION,),
)
