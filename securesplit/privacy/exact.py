"""The exact privacy loss of releases of one integer each: pure mathematics, no I/O, standard library only.

For one number the integers are few, so nothing has to be bounded: the privacy loss of a discrete Gaussian between two
integers Δ apart is L = (Δ² - 2 Δ y) / (2 σ²) for a noise of y, and δ(ε) = E[max(0, 1 - e^(ε - L))] is a finite sum
(Canonne, Kamath and Steinke 2020, theorem 7). The discrete Gaussian is log-concave, so shifts smaller than Δ give a
smaller δ at every ε: the pair Δ apart dominates all others, and pairs that dominate compose (Zhu, Dong and Wang,
AISTATS 2022, theorem 10). So the loss of k releases under one noise is that of the sum of k samples, and losses under
several noises add up as independent random variables do.

What is left out or rounded is added to δ or to L, so that nothing smaller than the truth comes out.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

MAX_POINTS: Final = 800
"""Sums of samples that spread wider have no exact loss here; the bounds of `accounting` are close there."""
MAX_PRODUCTS: Final = 300_000
RESOLUTION: Final = 0.01
"""Losses under several noises are rounded up to a multiple of this, once for every noise after the first."""
_REACH: Final = 10.0  # standard deviations; what lies beyond has a mass below 1e-22
_TAIL: Final = 1e-22
_LEFT_OUT: Final = 1e-20
"""More than the mass of all the tails that are cut off, for every release."""
_FEW: Final = 32
"""Samples whose sum is added to that of all the others, so that one release more costs little: theirs is short, and
that of the others is the same for as many releases."""
_FLOAT: Final = 1 + 1e-9
"""More than all floating-point errors of a sum together."""

Distribution = tuple[tuple[float, float], ...]
"""Pairs (value, probability)."""


@dataclass(frozen=True, order=True)
class IntegerReleases:
    """Distinct releases of one integer each under one noise.

    Args:
        variance: σ² of the discrete Gaussian, squared grid steps.
        shift: largest distance of two releases before noise, grid steps.
        count: how many.
    """

    variance: float
    shift: int
    count: int = 1


def delta(epsilon: float, releases: tuple[IntegerReleases, ...]) -> float:
    """The δ at which all of them together are (ε, δ)-DP; 1 where they are too many for an exact sum.

    >>> delta(142.8, (IntegerReleases(0.35**2, 5),)) > 1e-5 > delta(142.9, (IntegerReleases(0.35**2, 5),))
    True
    >>> delta(8.0, (IntegerReleases(4.0, 5), IntegerReleases(9.0, 5))) > delta(8.0, (IntegerReleases(4.0, 5),))
    True
    """
    losses = _losses(releases)
    if losses is None:
        return 1.0
    excess = math.fsum(mass * -math.expm1(epsilon - loss) for loss, mass in losses if loss > epsilon)
    return min(1.0, excess * _FLOAT + _LEFT_OUT * sum(part.count for part in releases))


@functools.lru_cache(maxsize=64)
def _losses(releases: tuple[IntegerReleases, ...]) -> Distribution | None:
    """The privacy loss of all of them together; None where that is too much to sum."""
    together: Distribution = ((0.0, 1.0),)
    for number, part in enumerate(releases):
        own = _loss(part)
        if own is None or len(own) * len(together) > MAX_PRODUCTS:
            return None
        together = _added(together, own) if number else own
    return together


def _loss(part: IntegerReleases) -> Distribution | None:
    masses = _sum_of_samples(part.variance, part.count)
    if masses is None:
        return None
    reach, shift = len(masses) // 2, part.shift
    values = range(-reach, reach + 1)
    return tuple(
        (shift * (part.count * shift - 2 * y) / (2 * part.variance), mass)
        for y, mass in zip(values, masses, strict=True)
    )


def _added(one: Distribution, other: Distribution) -> Distribution:
    """The sum of two independent losses, rounded up."""
    found: dict[int, float] = {}
    for loss, mass in one:
        for more, share in other:
            at = math.ceil((loss + more) / RESOLUTION)
            found[at] = found.get(at, 0.0) + mass * share
    return tuple((at * RESOLUTION, mass) for at, mass in found.items())


@functools.lru_cache(maxsize=256)
def _sum_of_samples(variance: float, count: int) -> tuple[float, ...] | None:
    """Probabilities of the sum of `count` independent samples from -r to r; None where r is too large."""
    if count == 1:
        return _sample(variance)
    if 2 * _REACH * math.sqrt(variance * count) > MAX_POINTS:
        return None
    few = count % _FEW if count > _FEW else 0
    many = count - few if few else count // 2
    one, rest = _sum_of_samples(variance, many), _sum_of_samples(variance, count - many)
    return None if one is None or rest is None else _without_tails(_convolved(one, rest))


def _sample(variance: float) -> tuple[float, ...]:
    reach = math.ceil(_REACH * math.sqrt(variance)) + 1
    weights = [math.exp(-y * y / (2 * variance)) for y in range(-reach, reach + 1)]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def _convolved(one: tuple[float, ...], other: tuple[float, ...]) -> list[float]:
    found = [0.0] * (len(one) + len(other) - 1)
    for at, mass in enumerate(one):
        for further, share in enumerate(other, at):
            found[further] += mass * share
    return found


def _without_tails(masses: list[float]) -> tuple[float, ...]:
    """A symmetric distribution without the ends that hold less than `_TAIL` each."""
    cut, mass = 0, masses[0]
    while mass < _TAIL:
        cut += 1
        mass += masses[cut]
    return tuple(masses[cut : len(masses) - cut])
