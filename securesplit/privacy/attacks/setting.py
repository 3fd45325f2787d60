"""What an attacker holds and what it is sent.

Releases are handled in embedding units, as the tail reads them (`securesplit.privacy.release.from_grid`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from securesplit.privacy.discrete_gaussian import DiscreteGaussian
from securesplit.privacy.metrics import Photos
from securesplit.privacy.noise import BitStream
from securesplit.privacy.release import ReleaseSpec

Releases = NDArray[np.float32]
"""``(n, *shape)`` in embedding units."""


@dataclass(frozen=True)
class Known:
    """The attacker's own photos, of other lesions than the victims'.

    Args:
        photos: ``(n, side, side, 3) float32`` in [0, 1], at the resolution of the attack.
        clean: ``(n, *shape)``, their releases before the noise; the attacker knows the head.
        malignant: ``(n,) bool``, what the tail answers to each, seen through the noise as a victim's is.
    """

    photos: Photos
    clean: Releases
    malignant: NDArray[np.bool_]

    def first(self, count: int) -> Known:
        """Only the first `count` of them."""
        return Known(self.photos[:count], self.clean[:count], self.malignant[:count])


@dataclass(frozen=True)
class Surface:
    """Where the attack happens: a preset's release, or the positive control's undefended stem (no spec)."""

    name: str
    spec: ReleaseSpec | None = None

    @property
    def sigma(self) -> float:
        """Standard deviation of one release's noise, embedding units."""
        return 0.0 if self.spec is None else math.sqrt(self.spec.sigma_squared) * self.spec.step

    def sigma_of_mean(self, releases: int) -> float:
        """The same for the mean of that many independent releases."""
        return self.sigma / math.sqrt(releases)

    def observe(self, clean: Releases, *, seed: int, releases: int = 1) -> Releases:
        """What the server can make of `releases` independent releases of each photo: their mean (attack A5).

        One release is drawn by the device's own exact sampler. A mean of several is simulated with rounded Gaussian
        noise, which no attack can tell apart at the shipped σ of many grid steps. The device itself would repeat
        its one release (`securesplit.privacy.noise`); independent draws show what that rule is for.
        """
        if self.spec is None or not self.sigma:
            return clean
        if releases == 1:
            noise = exact_noise(self.spec, clean.shape, seed)
        else:
            rng = np.random.default_rng(seed)
            scale = math.sqrt(self.spec.sigma_squared)
            noise = np.mean([np.rint(rng.normal(0, scale, clean.shape)) for _ in range(releases)], axis=0)
        return (clean + noise * self.spec.step).astype(np.float32)


def exact_noise(spec: ReleaseSpec, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Discrete Gaussian integers of the preset's variance in the given shape, the same for the same seed."""
    sampler = DiscreteGaussian(spec.sigma_squared, BitStream(seed.to_bytes(32)).below)
    return np.array(sampler.samples(math.prod(shape)), np.float64).reshape(shape)


class Reconstruction(Protocol):
    """An attack that rebuilds photos."""

    def __call__(self, known: Known, observed: Releases, sigma: float, seed: int) -> Photos:
        """Rebuild.

        Args:
            known: what the attacker holds.
            observed: ``(m, *shape)``, what it was sent.
            sigma: standard deviation of the noise in `observed`, embedding units.
            seed: of the attacker's own randomness.

        Returns:
            ``(m, side, side, 3)`` in [0, 1].
        """
