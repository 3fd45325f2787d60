"""An embedding -> the integers that leave the device.

Invariants:

- `to_grid` clips to the L2 norm ``C`` and then truncates towards zero on the grid, so the integer vector is never
  longer than ``C / step``. Two photos differ by at most ``2 C / step`` on the grid, *exactly*: no rounding term is
  left over, and no floating-point error either (the bound is enforced in integers).
- A release of one number is also clipped, on the grid, to the levels that its head uses; two photos then differ by at
  most their number less one.
- Noise is added to integers, and the sum is saturated to the release's type afterwards (post-processing, free).
- A preset that asks for noise never yields a release without it.

Where the noise comes from is `securesplit.privacy.noise`; what it promises is `securesplit.privacy.accounting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError, ConfigError
from securesplit.privacy.accounting import DELTA, NO_LOSS, ROUNDING_VARIANCE, Loss, gaussian_mu, loss_of
from securesplit.privacy.discrete_gaussian import DiscreteGaussian

RELEASE_DTYPES: Final = ("int8", "int16")
SIGMA_SQUARED_DENOMINATOR: Final = 1 << 16
"""The variance on the grid is rounded up to a multiple of 1/65536: small integers keep the exact sampler fast."""


CLIP_SLACK: Final = 1e-12
"""What is clipped to C exactly must land on C / step, not, by a float's last digit, a whole coarse step below. The
integer norm is enforced afterwards, so nothing depends on this but accuracy."""

Draw = Callable[[int], bytes]
"""So many bytes that nobody without the device's secret can tell from coins; the same ones for the same photo."""


class OwnMechanism(Protocol):
    """What a preset may have in the place of the noise: a `securesplit.privacy.mechanism.Mechanism`."""

    @property
    def name(self) -> str:
        """By which it is chosen."""

    @property
    def preset(self) -> str:
        """Whose head output, grid and tail it uses."""

    @property
    def version(self) -> str:
        """Of the package that it comes from."""

    def __call__(self, grid: NDArray[np.int64], spec: ReleaseSpec, draw: Draw) -> NDArray[np.int64]:
        """Release one photo's grid, ``spec.shape`` integers.

        Raises:
            ConfigError: it fails.
        """


@dataclass(frozen=True)
class ReleaseSpec:
    """How one preset turns an embedding into a release.

    Args:
        preset: ``none``, ``compact`` or ``certified``, or the name of an own mechanism.
        shape: of the release, without a batch axis.
        dtype: ``int8`` or ``int16``.
        step: width of the grid in embedding units.
        clip_norm: L2 norm ``C`` in embedding units; None: elementwise saturation only, and no formal claim.
        sigma_per_clip: standard deviation of the noise divided by ``C``; 0: no noise.
        levels: lowest and highest grid integer that is released before noise, for a release of one number; None: all
            that the clip norm allows. Others are clipped to them.
        mechanism: an own one in the place of the noise; nothing is proven of it.
        stored_as: what the bundle calls the preset, where that is another name (`securesplit.privacy.preset_names`).
        encrypted: the integers leave the device as a ciphertext (`securesplit.encrypted`), and reveal nothing.

    Raises:
        BundleError: the numbers contradict each other.
    """

    preset: str
    shape: tuple[int, ...]
    dtype: str
    step: float
    clip_norm: float | None = None
    sigma_per_clip: float = 0.0
    levels: tuple[int, int] | None = None
    mechanism: OwnMechanism | None = field(default=None, repr=False)
    stored_as: str | None = None
    encrypted: bool = False

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise BundleError(f"preset {self.preset}: {problem}", hint="fetch or export the bundle again")

    def _problem(self) -> str:
        if self.dtype not in RELEASE_DTYPES:
            return f"release type {self.dtype} is none of {', '.join(RELEASE_DTYPES)}"
        if not self.shape or min(self.shape) < 1:
            return f"release shape {self.shape} is empty"
        if not (math.isfinite(self.step) and self.step > 0):
            return f"grid step {self.step} is not positive"
        if self.clip_norm is not None and not (math.isfinite(self.clip_norm) and self.clip_norm > 0):
            return f"clip norm {self.clip_norm} is not positive"
        if not (math.isfinite(self.sigma_per_clip) and self.sigma_per_clip >= 0):
            return f"sigma {self.sigma_per_clip} is not a standard deviation"
        if self.sigma_per_clip and self.clip_norm is None:
            return "noise without a clip norm promises nothing"
        if self.encrypted and (self.clip_norm is not None or self.mechanism is not None):
            return "what is encrypted is neither clipped nor changed by a mechanism"
        return "" if self.levels is None else self._problem_of_levels(*self.levels)

    def _problem_of_levels(self, lowest: int, highest: int) -> str:
        if self.size != 1 or self.clip_steps is None:
            return "only a clipped release of one number has levels"
        if not -self.clip_steps <= lowest < highest <= self.clip_steps:
            return f"levels {lowest} to {highest} do not lie within the clip norm"
        return ""

    @property
    def stored_name(self) -> str:
        """The preset in the bundle's files, in its identity, in noise keys and in the ledger."""
        return self.stored_as or self.preset

    @property
    def base(self) -> str:
        """The preset of the bundle whose head output and tail are used."""
        return self.preset if self.mechanism is None else self.mechanism.preset

    @property
    def size(self) -> int:
        """How many integers one release holds."""
        return math.prod(self.shape)

    @property
    def level_count(self) -> int | None:
        """How many values a release of one number has before its noise; None where that is not said."""
        return None if self.levels is None else self.levels[1] - self.levels[0] + 1

    @property
    def clip_steps(self) -> Fraction | None:
        """The clip norm in grid steps, exact; None where there is no clip."""
        return None if self.clip_norm is None else Fraction(self.clip_norm) / Fraction(self.step)

    @property
    def sigma_squared(self) -> Fraction:
        """Variance of the noise in squared grid steps, rounded up (never under-noised); 0 without noise."""
        if self.clip_steps is None or not self.sigma_per_clip:
            return Fraction(0)
        exact = (Fraction(self.sigma_per_clip) * self.clip_steps) ** 2
        return Fraction(math.ceil(exact * SIGMA_SQUARED_DENOMINATOR), SIGMA_SQUARED_DENOMINATOR)

    @property
    def sensitivity(self) -> float:
        """Largest L2 distance of two releases before noise, in grid steps: ``2 C / step``, or from level to level."""
        if self.clip_steps is None:
            return math.inf
        if self.size > 1:
            return float(2 * self.clip_steps)
        lowest, highest = self.levels or (-math.floor(self.clip_steps), math.floor(self.clip_steps))
        return float(highest - lowest)

    @property
    def loss(self) -> Loss:
        """What one release can reveal at most: nothing where it is encrypted, else unbounded without noise."""
        return self.repeated(1)

    def repeated(self, releases: int) -> Loss:
        """What that many independent releases of one photo reveal at most (attack A5)."""
        if self.encrypted:
            return NO_LOSS
        return loss_of(self.sigma_squared, self.sensitivity, self.size, releases=releases)

    def with_epsilon(self, epsilon: float, delta: float = DELTA) -> ReleaseSpec:
        """The same release with so much noise that one photo's ε at `delta` is at most `epsilon`, and hardly less.

        Raises:
            ConfigError: this preset has no clip norm, or no noise gives that ε.
        """
        if self.clip_steps is None or self.mechanism is not None:
            raise ConfigError(f"preset {self.preset} has no clip norm, so no noise gives it an epsilon")
        if not (math.isfinite(epsilon) and epsilon > 0):
            raise ConfigError(f"epsilon {epsilon} is not a positive number", hint="4, 8 and 16 are usual")
        low, high = 0.0, self._enough(epsilon, delta)
        while high - low > 1e-9 * high:
            middle = (low + high) / 2
            promised = replace(self, sigma_per_clip=middle).loss.within(epsilon, delta)
            low, high = (low, middle) if promised else (middle, high)
        return replace(self, sigma_per_clip=high)

    def _enough(self, epsilon: float, delta: float) -> float:
        """Noise that surely gives that ε, as σ/C; on a coarse grid less may do."""
        variance = (self.sensitivity / gaussian_mu(epsilon, delta)) ** 2 + ROUNDING_VARIANCE
        return math.sqrt(variance) / float(self.clip_steps or 1) * (1 + 1e-6)


def to_grid(embedding: NDArray[np.floating], spec: ReleaseSpec) -> NDArray[np.int64]:
    """Clip, then truncate towards zero: the release before its noise.

    Args:
        embedding: ``spec.shape`` floats.
        spec: the preset.

    Returns:
        ``spec.shape`` int64, of L2 norm at most ``spec.clip_steps`` and within ``spec.levels``.

    Raises:
        BundleError: the embedding has another shape or holds a number that is not finite.
    """
    z = np.asarray(embedding, np.float64)
    if z.shape != spec.shape or not np.isfinite(z).all():
        found = f"shape {z.shape}" if z.shape != spec.shape else "a number that is not finite"
        raise BundleError(
            f"the head computed {found} for preset {spec.preset}", hint="head and manifest do not fit each other"
        )
    if spec.clip_norm is not None:
        norm = float(np.linalg.norm(z))
        z = z * min(1.0, spec.clip_norm / norm) if norm else z
    limits = np.iinfo(np.int64)
    units = z / spec.step * (1 + CLIP_SLACK)
    grid = np.trunc(np.clip(units, limits.min / 4, limits.max / 4)).astype(np.int64)
    grid = grid if spec.clip_steps is None else _within(grid, spec.clip_steps)
    return grid if spec.levels is None else grid.clip(*spec.levels)


def _within(grid: NDArray[np.int64], clip_steps: Fraction) -> NDArray[np.int64]:
    """Shorten the largest number by a step until the exact norm fits: undoes a float's last-digit error."""
    flat = [int(v) for v in grid.ravel()]
    limit = math.floor(clip_steps**2)
    while sum(v * v for v in flat) > limit:
        at = max(range(len(flat)), key=lambda i: abs(flat[i]))
        flat[at] -= 1 if flat[at] > 0 else -1
    return np.array(flat, np.int64).reshape(grid.shape)


def saturate(grid: NDArray[np.int64], spec: ReleaseSpec) -> NDArray[np.integer]:
    """Grid integers -> ``spec.dtype``, at its limits where they do not fit."""
    limits = np.iinfo(spec.dtype)
    return np.clip(grid, limits.min, limits.max).astype(spec.dtype)


def release(embedding: NDArray[np.floating], spec: ReleaseSpec, noise: DiscreteGaussian | None) -> NDArray[np.integer]:
    """What leaves the device for one embedding.

    Args:
        embedding: ``spec.shape`` floats.
        spec: the preset.
        noise: a sampler of variance ``spec.sigma_squared`` (`NoiseSource.sampler`); None only where the preset
            has no noise. For the grid before the noise use `to_grid` and `saturate`.

    Returns:
        ``spec.shape`` of ``spec.dtype``.

    Raises:
        BundleError: the embedding does not fit the preset.
        ValueError: the noise is missing or has another variance than the preset asks for.
    """
    if (noise.sigma_squared if noise else Fraction(0)) != spec.sigma_squared:
        raise ValueError(f"preset {spec.preset} asks for noise of variance {spec.sigma_squared}")
    if spec.mechanism is not None:
        raise ValueError(f"preset {spec.preset} is released by its own mechanism")
    grid = to_grid(embedding, spec)
    if noise is not None:
        grid = grid + np.array(noise.samples(spec.size), np.int64).reshape(spec.shape)
    return saturate(grid, spec)


def release_by_mechanism(grid: NDArray[np.int64], spec: ReleaseSpec, draw: Draw) -> NDArray[np.integer]:
    """What leaves the device where a mechanism of its own releases the grid.

    Raises:
        ConfigError: the mechanism fails.
        ValueError: the preset has none.
    """
    if spec.mechanism is None:
        raise ValueError(f"preset {spec.preset} has no mechanism of its own")
    return saturate(spec.mechanism(grid, spec, draw), spec)


def from_grid(released: NDArray[np.integer], spec: ReleaseSpec) -> NDArray[np.float32]:
    """Release integers -> embedding units, ``float32`` of the same shape; what the tail computes with."""
    return (released.astype(np.float64) * spec.step).astype(np.float32)
