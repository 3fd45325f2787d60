"""A3: a decoder trained through the defended pipeline, with fresh noise in every epoch.

The learned inverse of Dosovitskiy and Brox (CVPR 2016) and Yang et al. (CCS 2019), which published defences that only
resist optimisation fail against. The photo is predicted in the space of its principal components; under the
squared error the best answer is the mean of all photos that explain the release, and a network with fresh noise
approaches just that. It learns what the best linear answer (A1's) leaves over. Maps are also decoded cell by cell with
shared weights, as a convolution would. Which way, and how long, is chosen on a tenth of the attacker's own photos.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import patches
from securesplit.audit.attack import AnytimeStep, AttackSpec, Steps
from securesplit.audit.attacks import ridge
from securesplit.audit.context import AuditContext
from securesplit.audit.metrics import Photos, mse
from securesplit.audit.reconstruction import RECONSTRUCTION, ReconstructionResult, score
from securesplit.audit.setting import AttackerKnowledge, Releases, ShouldContinue, always
from securesplit.audit.time_budget import Noted, TimeBudget
from securesplit.i18n import gettext_noop

COMPONENTS = 128
HIDDEN = (256, 256)
BATCH = 64
COPIES = 8
"""Noisy copies of each known release for the linear answer."""
LOOKS = 20
"""How often the held-out tenth is looked at; the best look counts."""
PATIENCE = 5
"""Looks without a better one after which training stops."""
WEIGHT = 1.0
"""Of one decoder's training, of the audit's time."""

Encode = Callable[[Releases], NDArray[np.float32]]
Decode = Callable[[NDArray[np.float32]], Photos]


def fit(
    known: AttackerKnowledge,
    sigma: float,
    seed: int,
    *,
    updates: int,
    should_continue: ShouldContinue = always,
) -> ridge.Predictor:
    """Train every kind of decoder that the release's shape allows; return the best on the held-out tenth.

    Args:
        known: what the attacker holds.
        sigma: of the noise, embedding units.
        seed: of weights, order and noise.
        updates: steps of Adam at most.
        should_continue: asked before each pass over the photos; where it says no, the best look so far counts.
    """
    training = _Training(known, sigma, seed, updates, should_continue)
    ways = [_by_cell(training)] if known.noise_free.ndim == 4 else []
    ways.append(_whole(training))
    return ridge.best(ways, known, sigma, seed)


@dataclass(frozen=True)
class _Training:
    """What is trained on, and for how long; see `fit`."""

    known: AttackerKnowledge
    sigma: float
    seed: int
    updates: int
    should_continue: ShouldContinue

    @property
    def fitted(self) -> AttackerKnowledge:
        """The nine tenths that decoders are fitted to."""
        return ridge.split(self.known)[0]

    def __call__(self, encode: Encode, decode: Decode, noise_free: Releases, targets: NDArray[Any]) -> ridge.Predictor:
        """A linear answer and a network for what it leaves over, from encoded releases to targets ``(n, outputs)``."""
        held_out = ridge.split(self.known)[1]
        rng = np.random.default_rng(self.seed)

        def noisy(releases: Releases) -> NDArray[np.float32]:
            return encode((releases + rng.normal(0, 1, releases.shape) * self.sigma).astype(np.float32))

        def error(outputs: NDArray[Any]) -> float:
            return float(mse(held_out.photos, decode(np.asarray(outputs, np.float32))).mean())

        seen = noisy(held_out.noise_free)
        once = None if self.sigma else encode(noise_free)

        def features() -> NDArray[np.float32]:
            return noisy(noise_free) if once is None else once

        copies = [features() for _ in range(COPIES if self.sigma else 1)]
        lines = ridge.solve(np.concatenate(copies), np.concatenate([targets] * len(copies)), 0.0)
        line = min(lines, key=lambda linear: error(linear(seen)))
        network = self._network(features, targets, line, lambda added: error(line(seen) + added(seen)))

        def rebuild(releases: Releases) -> Photos:
            encoded = encode(releases)
            return decode(np.asarray(line(encoded) + network(encoded), np.float32))

        return rebuild

    def _network(
        self,
        features: Callable[[], NDArray[np.float32]],
        targets: NDArray[Any],
        line: ridge.Linear,
        error: Callable[[ridge.Linear], float],
    ) -> ridge.Linear:
        """Adam on squared error, fresh noise every epoch; the best look at the held-out tenth counts."""
        from sklearn.neural_network import MLPRegressor
        from threadpoolctl import threadpool_limits

        network = MLPRegressor(
            hidden_layer_sizes=HIDDEN, batch_size=min(BATCH, len(targets)), alpha=1e-4, random_state=self.seed
        )
        epochs = max(LOOKS, self.updates * BATCH // len(targets))
        best, weights, misses = error(_nothing), None, 0
        with threadpool_limits(1):  # the products are small: more threads only wait for each other
            for epoch in range(1, epochs + 1):
                if misses == PATIENCE or not self.should_continue():
                    break
                seen = features()
                network.partial_fit(seen, np.asarray(targets - line(seen), np.float32))
                if epoch % (epochs // LOOKS):
                    continue
                found = error(network.predict)
                misses = 0 if found < best else misses + 1
                if found < best:
                    best, weights = found, ([w.copy() for w in network.coefs_], [b.copy() for b in network.intercepts_])
        if weights is None:
            return _nothing
        network.coefs_, network.intercepts_ = weights
        predict: ridge.Linear = network.predict
        return predict


def _nothing(_: NDArray[Any]) -> Any:
    """What a network adds that found nothing."""
    return 0.0


def _whole(training: _Training) -> ridge.Predictor:
    fitted = training.fitted
    flat = fitted.photos.reshape(len(fitted.photos), -1)
    photo_space = _photo_space(flat)
    scale = np.sqrt(photo_space.explained_variance_[0])
    squeeze = _release_space(fitted.noise_free, training.sigma, training.seed)
    shape = fitted.photos.shape[1:]

    def decode(output: NDArray[np.float32]) -> Photos:
        rebuilt = photo_space.inverse_transform(output * scale)
        return np.asarray(np.clip(rebuilt, 0, 1).reshape(-1, *shape), np.float32)

    return training(squeeze, decode, fitted.noise_free, photo_space.transform(flat) / scale)


def _by_cell(training: _Training) -> ridge.Predictor:
    fitted = training.fitted
    side, cells = fitted.photos.shape[1], fitted.noise_free.shape[1]
    chosen = fitted.first(max(20, ridge.CELLS_TO_FIT // 2 // cells**2))
    sample, _ = ridge.cells_to_fit(chosen, training.seed)
    centre, spread = sample.mean(0), sample.std(0) + 1e-6
    space = _components((sample - centre) / spread, 2 * COMPONENTS, training.seed)
    size = np.sqrt(space.explained_variance_[0])

    def encode(seen: Releases) -> NDArray[np.float32]:
        features = (patches.cell_features(seen) - centre) / spread
        return np.asarray(space.transform(features.reshape(-1, features.shape[-1])) / size, np.float32)

    def decode(output: NDArray[np.float32]) -> Photos:
        return patches.from_patches(output.reshape(-1, cells, cells, output.shape[-1]) + 0.5, side)

    targets = patches.to_patches(chosen.photos, cells).reshape(len(chosen.photos) * cells * cells, -1) - 0.5
    return training(encode, decode, chosen.noise_free, targets)


_SPACES: dict[bytes, Any] = {}
_MAX_SPACES = 4


def _photo_space(flat: NDArray[np.float32]) -> Any:
    """Principal components of ``(n, pixels)``; kept, since many decoders are trained on the same photos."""
    key = hashlib.blake2b(np.ascontiguousarray(flat).data, digest_size=16).digest()
    if key not in _SPACES:
        while len(_SPACES) >= _MAX_SPACES:
            del _SPACES[next(iter(_SPACES))]
        _SPACES[key] = _components(flat, COMPONENTS, seed=0)
    return _SPACES[key]


def _components(values: NDArray[np.float32], count: int, seed: int) -> Any:
    """That many principal components of ``(n, features)``, or as many as it has."""
    from sklearn.decomposition import PCA

    count = min(count, values.shape[1], len(values) - 1)
    return PCA(count, svd_solver="randomized", random_state=seed).fit(values)


def _release_space(noise_free: Releases, sigma: float, seed: int) -> Encode:
    """Standardise, in the releases' own principal components where there are many numbers."""
    flat = noise_free.reshape(len(noise_free), -1)
    mean = flat.mean(0)
    if flat.shape[1] <= COMPONENTS:
        spread = np.sqrt(flat.var(0) + sigma**2 + 1e-12)
        return lambda seen: np.asarray((seen.reshape(len(seen), -1) - mean) / spread, np.float32)
    space = _components(flat, 2 * COMPONENTS, seed)
    size = np.sqrt(space.explained_variance_[0] + sigma**2)
    return lambda seen: np.asarray(space.transform(seen.reshape(len(seen), -1)) / size, np.float32)


def of(
    context: AuditContext,
    preset: str,
    photos: int,
    seed: int,
    budget: TimeBudget,
    should_continue: ShouldContinue,
    *,
    is_whole: bool = False,
) -> ridge.Predictor:
    """The decoder of a preset with so many of the attacker's photos, trained once for A3, A4 and A9.

    Args:
        context: the audit.
        preset: what is attacked.
        photos: how many of the attacker's it learns from.
        seed: of its training.
        budget: of the attack that asks for it; it learns where that goes on from a decoder that had no time to end.
        should_continue: asked while it is trained.
        is_whole: one that had no time to end is trained again, as when A3 is given more.
    """
    known, sigma, updates = context.known(preset).first(photos), context.sigma(preset), context.profile.decoder_updates

    def train() -> tuple[ridge.Predictor, Noted]:
        noted = Noted(should_continue)
        return fit(known, sigma, seed, updates=updates, should_continue=noted), noted

    decode, noted = context.keep(
        ("decoder", preset, photos, seed), train, lambda kept: not (is_whole and kept[1].refused)
    )
    if noted.refused:
        budget.began_with = SPEC.id
    return decode


def run(context: AuditContext, preset: str, photos: int, budget: TimeBudget | None = None) -> ReconstructionResult:
    """The trained decoder with that many of the attacker's photos."""
    photos, budget = min(photos, len(context.auxiliary_photos)), budget or TimeBudget()

    def rebuild(seed: int, seen: Releases, _: NDArray[np.bool_], should_continue: ShouldContinue) -> Photos:
        return of(context, preset, photos, seed, budget, should_continue, is_whole=True)(seen)

    return score(context, preset, "A3", rebuild, seeded=True, budget=budget, auxiliary_photos=photos)


def _steps(context: AuditContext, preset: str) -> Steps:
    return {str(n): AnytimeStep(WEIGHT, partial(run, context, preset, n)) for n in context.profile.decoder_photos}


SPEC = AttackSpec(
    id="A3",
    name=gettext_noop("Trained decoder"),
    description=gettext_noop(
        "A neural network that learned to turn releases back into photos, with the noise that they have."
    ),
    result_type=ReconstructionResult,
    steps=_steps,
    goals=(RECONSTRUCTION,),
)
