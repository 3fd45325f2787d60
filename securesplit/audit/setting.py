"""What an attacker holds and what it is sent.

Releases are handled in embedding units, as the tail reads them (`securesplit.privacy.release.from_grid`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.metrics import Photos
from securesplit.privacy.discrete_gaussian import DiscreteGaussian
from securesplit.privacy.noise import BitStream
from securesplit.privacy.release import ReleaseSpec

Releases = NDArray[np.float32]
"""``(n, *shape)`` in embedding units."""

ShouldContinue = Callable[[], bool]
"""Asked by an attack that has something left to do: is there time for it?"""


def always() -> bool:
    """`ShouldContinue` without a limit."""
    return True


@dataclass(frozen=True)
class AttackerKnowledge:
    """The attacker's own photos, of other lesions than the targets'.

    Args:
        photos: ``(n, side, side, 3) float32`` in [0, 1], at the resolution of the attack.
        noise_free: ``(n, *shape)``, their releases without noise; the attacker knows the head.
        malignant: ``(n,) bool``, what the tail answers to each, seen through the noise as a target's is.
    """

    photos: Photos
    noise_free: Releases
    malignant: NDArray[np.bool_]

    @property
    def clean(self) -> Releases:
        """`noise_free` by the name that attacks of other packages know (ADR 089)."""
        return self.noise_free

    def first(self, count: int) -> AttackerKnowledge:
        """Only the first `count` of them."""
        return AttackerKnowledge(self.photos[:count], self.noise_free[:count], self.malignant[:count])


Known = AttackerKnowledge
"""The name that attacks of other packages know (ADR 089)."""


@dataclass(frozen=True)
class Surface:
    """Where the attack happens: a preset's release, or the positive control's undefended stem (no spec)."""

    name: str
    """Of the head's output."""
    spec: ReleaseSpec | None = None
    scatter: float = 0.0
    """Measured standard deviation of an own mechanism's releases about their mean, embedding units."""

    @property
    def sigma(self) -> float:
        """Standard deviation of one release's noise, embedding units: on a coarse grid less than the parameter σ."""
        if self.scatter:
            return self.scatter
        if self.spec is None or not self.spec.sigma_squared:
            return 0.0
        values, mass = discrete_gaussian(float(self.spec.sigma_squared))
        return math.sqrt(float(values**2 @ mass)) * self.spec.step

    def sigma_of_mean(self, releases: int) -> float:
        """The same for the mean of that many independent releases."""
        return self.sigma / math.sqrt(releases)

    def observe(self, noise_free: Releases, *, seed: int, releases: int = 1) -> Releases:
        """What the server can make of `releases` independent releases of each photo: their mean (attack A5).

        One release is drawn by the device's own exact sampler. Several are drawn from the same distribution in floating
        point; their mean is a sufficient statistic. The device itself would repeat its one release
        (`securesplit.privacy.noise`); independent draws show what that rule is for. Of an own mechanism this is what an
        attacker makes of its scatter; `securesplit.audit.observations.Observations` has what the server really gets.
        """
        if self.spec is None or not self.sigma:
            return noise_free
        if self.scatter:
            normal = np.random.default_rng(seed).normal(0, self.sigma_of_mean(releases), noise_free.shape)
            return (noise_free + normal).astype(np.float32)
        if releases == 1:
            noise = exact_noise(self.spec, noise_free.shape, seed)
        else:
            rng = np.random.default_rng(seed)
            values, mass = discrete_gaussian(float(self.spec.sigma_squared))
            noise = np.mean([rng.choice(values, noise_free.shape, p=mass) for _ in range(releases)], axis=0)
        return (noise_free + noise * self.spec.step).astype(np.float32)


@functools.lru_cache(maxsize=32)
def discrete_gaussian(variance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integers and their probabilities under the discrete Gaussian of that σ², out to nine σ."""
    reach = math.ceil(9 * math.sqrt(variance)) + 1
    values = np.arange(-reach, reach + 1, dtype=np.float64)
    mass = np.exp(-(values**2) / (2 * variance))
    return values, mass / mass.sum()


def exact_noise(spec: ReleaseSpec, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Discrete Gaussian integers of the preset's variance in the given shape, the same for the same seed."""
    sampler = DiscreteGaussian(spec.sigma_squared, BitStream(seed.to_bytes(32)).below)
    return np.array(sampler.samples(math.prod(shape)), np.float64).reshape(shape)


class Reconstruction(Protocol):
    """An attack that rebuilds photos."""

    def __call__(self, known: AttackerKnowledge, observed: Releases, sigma: float, seed: int) -> Photos:
        """Rebuild.

        Args:
            known: what the attacker holds.
            observed: ``(m, *shape)``, what it was sent.
            sigma: standard deviation of the noise in `observed`, embedding units.
            seed: of the attacker's own randomness.

        Returns:
            ``(m, side, side, 3)`` in [0, 1].
        """
