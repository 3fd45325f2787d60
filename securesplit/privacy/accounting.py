"""What a release promises: pure mathematics, no I/O, standard library only.

The model is local: one photo against any other. Both are clipped to the L2 norm ``C``, so their embeddings differ by
at most ``2 C``, and the noise is discrete Gaussian of variance σ² on the grid. Up to three descriptions of that are
kept, and every figure uses the best of them:

- **Exact**: where every release is one integer, its privacy loss is summed (`securesplit.privacy.exact`).
- **zCDP**, with ρ = Δ²/(2σ²), holds for every σ (Canonne, Kamath, Steinke 2020, theorem 14).
- **Smoothing**: a discrete Gaussian of variance σ² is, up to a factor e^±η on every probability, a post-processing
  of the *continuous* Gaussian of variance σ² − 2, namely of rounding it at random by a discrete Gaussian of
  variance 2 (the convolution of Peikert, CRYPTO 2010, theorem 3.1). By Poisson's summation η < 6e-17 a coordinate.
  So the release inherits the continuous mechanism's exact trade-off curve, μ-Gaussian DP with
  μ = Δ/√(σ² − 2) (Dong, Roth, Su 2019), its composition, and its bound on identification.

A further figure, maximal leakage (`securesplit.privacy.leakage`), bounds identification alone, and much better.

Every ε is rounded up and every μ down where a root is searched, so nothing smaller than the truth is ever printed.

Sources: Balle and Wang, ICML 2018 (analytic Gaussian); Canonne, Kamath and Steinke, NeurIPS 2020; Dong, Roth and Su,
JRSS-B 2022 (Gaussian DP); Hayes, Mahloujifar and Balle, NeurIPS 2023 (reconstruction bound).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from statistics import NormalDist
from typing import Final

from securesplit.privacy import exact
from securesplit.privacy.exact import IntegerReleases
from securesplit.privacy.leakage import maximal_leakage, support_leakage

DELTA: Final = 1e-5
"""The δ of every printed (ε, δ) unless another is asked for."""

ROUNDING_VARIANCE: Final = 2
"""Variance that the smoothing argument gives away, in squared grid steps; it makes η negligible."""

_THETA: Final = 2 * math.exp(-2 * math.pi**2 * ROUNDING_VARIANCE) * 1.000001
_ETA_PER_NUMBER: Final = 3 * _THETA  # >= ln((1 + θ) / (1 - θ)), 4.3e-17
_SLACK: Final = 1 + 1e-12  # a float's last digit must not take a whole value away
_NORMAL: Final = NormalDist()


def log_normal_cdf(x: float) -> float:
    """The logarithm of Φ(x), to full relative precision far into the lower tail (asymptotic series below -30).

    >>> round(log_normal_cdf(0.0), 6)
    -0.693147
    >>> round(log_normal_cdf(-40.0), 4)
    -804.6084
    """
    if x > -30:
        return math.log(math.erfc(-x / math.sqrt(2)) / 2)
    s = 1 / (x * x)
    series = 1 - s + 3 * s**2 - 15 * s**3 + 105 * s**4
    return -x * x / 2 - math.log(-x) - math.log(2 * math.pi) / 2 + math.log(series)


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Smallest δ for which a Gaussian of sensitivity/σ = `mu` is (ε, δ)-DP: Balle and Wang 2018, theorem 8.

    >>> f"{gaussian_delta(1.0, 2 / 7.46):.1e}"
    '1.0e-05'
    """
    if mu <= 0:
        return 0.0
    if math.isinf(mu):
        return 1.0
    upper = math.exp(log_normal_cdf(mu / 2 - epsilon / mu))
    return max(0.0, upper - math.exp(epsilon + log_normal_cdf(-mu / 2 - epsilon / mu)))


def _smallest(holds: Callable[[float], bool]) -> float:
    """The smallest x >= 0 from which on `holds` is true, rounded up; ∞ where it never is."""
    if holds(0.0):
        return 0.0
    high = 1.0
    while not holds(high):
        high *= 2
        if high > 1e12:
            return math.inf
    low = 0.0
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def gaussian_epsilon(mu: float, delta: float = DELTA) -> float:
    """Smallest ε for which a Gaussian of sensitivity/σ = `mu` is (ε, δ)-DP.

    >>> round(gaussian_epsilon(2 / 0.69), 1)
    16.0
    """
    _check(delta=delta)
    return _smallest(lambda epsilon: gaussian_delta(epsilon, mu) <= delta)


def gaussian_mu(epsilon: float, delta: float = DELTA) -> float:
    """Largest sensitivity/σ that a Gaussian may have to be (ε, δ)-DP.

    >>> round(gaussian_mu(8.0), 3)
    1.666
    """
    _check(delta=delta)
    if not epsilon >= 0:
        raise ValueError(f"epsilon {epsilon} is negative")
    return 1 / _smallest(lambda inverse: inverse > 0 and gaussian_delta(epsilon, 1 / inverse) <= delta)


def zcdp_delta(epsilon: float, rho: float) -> float:
    """δ at ε of any ρ-zCDP mechanism: Canonne, Kamath and Steinke 2020, corollary 13.

    >>> zcdp_delta(8.0, 2 / 1.2**2) < 1e-4
    True
    """
    if rho <= 0:
        return 0.0
    if math.isinf(rho):
        return 1.0
    low, high = 1.0, (epsilon + 1) / (2 * rho) + 2  # the optimal order α lies between
    for _ in range(80):
        alpha = (low + high) / 2
        slope = (2 * alpha - 1) * rho - epsilon + math.log1p(-1 / alpha) if alpha > 1 else -math.inf
        low, high = (alpha, high) if slope < 0 else (low, alpha)
    alpha = high
    exponent = (alpha - 1) * (alpha * rho - epsilon) + alpha * math.log1p(-1 / alpha)
    return min(1.0, math.exp(min(0.0, exponent - math.log(alpha - 1))))


def zcdp_epsilon(rho: float, delta: float = DELTA) -> float:
    """ε of any ρ-zCDP mechanism at δ.

    >>> gaussian_epsilon(1.5) < zcdp_epsilon(1.5**2 / 2) < 1.15 * gaussian_epsilon(1.5)
    True
    """
    _check(delta=delta)
    return _smallest(lambda epsilon: zcdp_delta(epsilon, rho) <= delta)


def identification_bound(candidates: int, mu: float) -> float:
    """Certified: an attacker who must pick the photo among equally likely candidates succeeds at most this often.

    Φ(Φ⁻¹(1/N) + μ) for a μ-Gaussian-DP release: the trade-off curve is concave, so the average over the
    candidates of P[pick i | photo i] is at most its value at the average of P[pick i | any one photo] <= 1/N.

    >>> [round(identification_bound(1000, gaussian_mu(e)), 3) for e in (4, 8, 16)]
    [0.015, 0.077, 0.427]
    """
    if candidates < 2 or math.isinf(mu):
        return 1.0
    return _NORMAL.cdf(_NORMAL.inv_cdf(1 / candidates) + mu)


@dataclass(frozen=True)
class Loss:
    """What one or several releases can reveal at most, in the descriptions of this module's head.

    Args:
        rho: zCDP.
        mu: Gaussian DP, by smoothing.
        eta: the smoothing's factor e^±η on every probability.
        leakage: maximal leakage in nats; ∞ where it is not known.
        support: maximal leakage in nats that no number of releases of the same photos exceeds; ∞ where it is not known.
        integers: the releases themselves, where each of them is one integer; else None.
    """

    rho: float
    mu: float
    eta: float
    leakage: float = math.inf
    support: float = math.inf
    integers: tuple[IntegerReleases, ...] | None = None

    def epsilon(self, delta: float = DELTA) -> float:
        """The ε that holds at `delta`; ∞ where nothing is promised."""
        _check(delta=delta)
        by_smoothing = gaussian_epsilon(self.mu, delta * math.exp(-self.eta)) + 2 * self.eta
        bounds = [by_smoothing, zcdp_epsilon(self.rho, delta)]
        if self.integers is not None:
            known = self.integers
            bounds.append(_smallest(lambda epsilon: exact.delta(epsilon, known) <= delta))
        return min(bounds)

    def times(self, count: float | Fraction) -> Loss:
        """What `count` distinct releases of other photos like this one reveal together.

        >>> Loss(1.0, 2.0, 0.0, 0.5, 1.0).times(4)
        Loss(rho=4.0, mu=4.0, eta=0.0, leakage=2.0, support=4.0, integers=None)
        """
        many = float(count)
        return Loss(
            self.rho * many,
            self.mu * math.sqrt(many),
            self.eta * many,
            self.leakage * many,
            self.support * many,
            _repeated(self.integers, count),
        )

    def within(self, epsilon: float, delta: float = DELTA) -> bool:
        """Whether (`epsilon`, `delta`)-DP holds; cheaper than finding the smallest ε."""
        by_smoothing = math.exp(self.eta) * gaussian_delta(max(0.0, epsilon - 2 * self.eta), self.mu)
        if min(by_smoothing, zcdp_delta(epsilon, self.rho)) <= delta:
            return True
        return self.integers is not None and exact.delta(epsilon, self.integers) <= delta

    def identification_bound(self, candidates: int) -> float:
        """Certified rate of picking the photo among that many candidates: the better of the two bounds.

        >>> round(Loss(1.0, 2.0, 0.0, math.log(5)).identification_bound(1000), 6)
        0.005
        """
        by_smoothing = math.exp(self.eta) * identification_bound(candidates, self.mu)
        by_leakage = math.exp(min(self.leakage, self.support, 700.0)) / candidates
        return min(1.0, by_smoothing, by_leakage)


def _repeated(
    integers: tuple[IntegerReleases, ...] | None, count: float | Fraction
) -> tuple[IntegerReleases, ...] | None:
    """Each of them `count` times; None where that is not a whole number of releases."""
    if integers is None or any(part.count * count % 1 for part in integers):
        return None
    return tuple(IntegerReleases(part.variance, part.shift, int(part.count * count)) for part in integers)


NO_LOSS: Final = Loss(0.0, 0.0, 0.0, 0.0, 0.0, ())
UNBOUNDED: Final = Loss(math.inf, math.inf, 0.0)
"""A release without noise promises nothing."""


def loss_of(sigma_squared: Fraction | float, sensitivity: float, size: int, *, releases: int = 1) -> Loss:
    """What one release, or several independent ones of the same photo, can reveal at most.

    Args:
        sigma_squared: variance of the discrete Gaussian, squared grid steps; 0: no noise.
        sensitivity: largest L2 distance of two releases before noise, grid steps.
        size: how many integers the release holds.
        releases: how many of them there are. For maximal leakage they reveal less than as many releases of different
            photos, `Loss.times`.

    >>> loss = loss_of(48.0**2, 2 * 40.0, 4)
    >>> gaussian_epsilon(80 / 48) < loss.epsilon() < 1.001 * gaussian_epsilon(80 / 48)
    True
    >>> round(loss_of(0.35**2, 5, 1).epsilon(), 1)
    142.9
    """
    variance = float(sigma_squared)
    if variance <= 0 or math.isinf(sensitivity):
        return UNBOUNDED
    rest = variance - ROUNDING_VARIANCE
    mu = sensitivity / math.sqrt(rest) if rest > 0 else math.inf
    eta = size * _ETA_PER_NUMBER
    radius = sensitivity / 2
    values = 1 + (math.floor(sensitivity * _SLACK) if size == 1 else 2 * math.floor(radius * _SLACK))
    return Loss(
        releases * sensitivity**2 / (2 * variance),
        mu * math.sqrt(releases),
        eta * releases,
        maximal_leakage(variance, values, size, radius=radius, smooth_variance=rest, eta=eta, releases=releases),
        support_leakage(values, size),
        (IntegerReleases(variance, values - 1, releases),) if size == 1 else None,
    )


def compose(losses: Iterable[Loss]) -> Loss:
    """What several distinct releases reveal together: ρ and η add up, μ adds up in squares.

    >>> compose([loss_of(100.0, 10.0, 2)] * 4).mu == 2 * loss_of(100.0, 10.0, 2).mu
    True
    """
    known = list(losses)
    return Loss(
        rho=math.fsum(loss.rho for loss in known),
        mu=math.sqrt(math.fsum(loss.mu**2 for loss in known)),
        eta=math.fsum(loss.eta for loss in known),
        leakage=math.fsum(loss.leakage for loss in known),
        support=math.fsum(loss.support for loss in known),
        integers=_together([loss.integers for loss in known]),
    )


def _together(parts: list[tuple[IntegerReleases, ...] | None]) -> tuple[IntegerReleases, ...] | None:
    """One entry a noise, in order; None where one of the losses has none."""
    counts: dict[tuple[float, int], int] = {}
    for part in chain.from_iterable(known for known in parts if known is not None):
        noise = part.variance, part.shift
        counts[noise] = counts.get(noise, 0) + part.count
    return None if None in parts else tuple(IntegerReleases(*noise, n) for noise, n in sorted(counts.items()))


def _check(*, delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta {delta} is not between 0 and 1")
