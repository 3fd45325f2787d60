"""Exact samples of the discrete Gaussian on the integers.

``P[Y = y]`` is proportional to ``exp(-y² / (2 σ²))``, for rational σ². The sampler is that of Canonne, Kamath and
Steinke, "The Discrete Gaussian for Differential Privacy" (NeurIPS 2020, arXiv:2004.00010), algorithms 1 to 3. It knows
integers only: there is no rounding anywhere, hence no floating-point leak (Mironov, CCS 2012). Randomness comes in as a
function ``uniform(n)`` that returns an integer in ``[0, n)``.

The running time depends on what is drawn (not on the photo's embedding); see `threat_model.md`, side channels.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import isqrt

Uniform = Callable[[int], int]


def bernoulli_exp(numerator: int, denominator: int, uniform: Uniform) -> bool:
    """True with probability ``exp(-numerator / denominator)``; algorithm 1, for any non-negative ratio."""
    while numerator > denominator:
        if not _bernoulli_exp_unit(1, 1, uniform):
            return False
        numerator -= denominator
    return _bernoulli_exp_unit(numerator, denominator, uniform)


def _bernoulli_exp_unit(numerator: int, denominator: int, uniform: Uniform) -> bool:
    """As `bernoulli_exp`, for ``numerator <= denominator``: von Neumann's alternating series."""
    k = 1
    while uniform(denominator * k) < numerator:
        k += 1
    return k % 2 == 1


def discrete_laplace(scale: int, uniform: Uniform) -> int:
    """An integer ``y`` with probability proportional to ``exp(-|y| / scale)``; algorithm 2 with s = 1."""
    while True:
        remainder = uniform(scale)
        if not bernoulli_exp(remainder, scale, uniform):
            continue
        quotient = 0
        while _bernoulli_exp_unit(1, 1, uniform):
            quotient += 1
        magnitude = remainder + scale * quotient
        negative = uniform(2) == 1
        if negative and magnitude == 0:
            continue
        return -magnitude if negative else magnitude


class DiscreteGaussian:
    """Independent samples of variance parameter ``sigma_squared``, in squared grid steps.

    Args:
        sigma_squared: σ², positive.
        uniform: ``uniform(n)`` is an integer, uniform in ``[0, n)``.

    Raises:
        ValueError: σ² is not positive.
    """

    def __init__(self, sigma_squared: Fraction, uniform: Uniform) -> None:
        if sigma_squared <= 0:
            raise ValueError("the variance of a discrete Gaussian is positive")
        self.sigma_squared = sigma_squared
        self._uniform = uniform
        self._scale = isqrt(sigma_squared.numerator // sigma_squared.denominator) + 1  # floor(sigma) + 1

    def sample(self) -> int:
        """One integer; algorithm 3: a discrete Laplace proposal, accepted with an exact probability."""
        n, d, t = self.sigma_squared.numerator, self.sigma_squared.denominator, self._scale
        while True:
            y = discrete_laplace(t, self._uniform)
            # (|y| - σ²/t)² / (2 σ²), with σ² = n/d
            if bernoulli_exp((abs(y) * t * d - n) ** 2, 2 * n * d * t * t, self._uniform):
                return y

    def samples(self, count: int) -> list[int]:
        """`count` independent integers."""
        return [self.sample() for _ in range(count)]
