"""How much better than by guessing anyone can name what a release was made from: maximal leakage.

The maximal leakage of a channel is L = ln Σ_y max_x P[y | x] (Issa, Wagner and Kamath, IEEE Trans. Inf. Theory 2020,
theorem 1): whoever guesses any secret that the photo carries, from a release, is right at most e^L times as often as
without it. For a photo, or a lesion, among N equally likely ones that is at most e^L / N. Unlike the bound through
Gaussian DP it stays small where ε is large, because a short release simply has few values to tell photos apart by.

On the integers, with noise-free releases in a ball of radius R grid steps, m noise-free values a number, side by side,
and noise of mass p:

- **box**: max_x P[y | x] = p(0) for y among the m values, and the mass at the nearest of them beyond, so the sum is
  1 + (m - 1) p(0) a number, exactly;
- **ball**: through the continuous Gaussian of variance σ² - 2, of which the discrete one is a post-processing up to
  e^±η (see `securesplit.privacy.accounting`): Steiner's formula for the ball;
- **support**: without any noise there are m values a number. This one holds for any number of releases of a photo.

Standard library only.
"""

from __future__ import annotations

import functools
import math
from typing import Final

_ROUNDING: Final = 1e-12
"""Added to every result: more than all floating-point errors in it together."""


def support_leakage(values: int, size: int) -> float:
    """Nats that no number of releases of one photo exceeds: each of `size` numbers has `values` clean values.

    >>> round(math.exp(support_leakage(6, 1)), 6)
    6.0
    """
    return size * math.log(values) + _ROUNDING


def maximal_leakage(
    variance: float, values: int, size: int, *, radius: float, smooth_variance: float, eta: float, releases: int = 1
) -> float:
    """Nats that `releases` independent releases of one photo leak at most.

    Args:
        variance: σ² of the discrete Gaussian, squared grid steps.
        values: how many neighbouring integers each number of a release may be before noise.
        size: how many integers one release holds.
        radius: of a ball that holds every release before noise, grid steps.
        smooth_variance: variance of the continuous Gaussian behind one release; not positive: there is none.
        eta: its factor e^±η, of one release.
        releases: how many of the same photo.

    >>> one = maximal_leakage(0.3**2, 5, 1, radius=2.0, smooth_variance=-1.91, eta=0.0)
    >>> round(math.exp(one), 2)
    4.97
    >>> many = maximal_leakage(0.3**2, 5, 1, radius=2.0, smooth_variance=-1.91, eta=0.0, releases=10**6)
    >>> round(math.exp(many), 6)
    5.0
    """
    box = releases * size * math.log1p((values - 1) * _mass_at_zero(variance)) + _ROUNDING
    ball = math.inf
    if smooth_variance > 0:
        ball = _ball(radius * math.sqrt(releases / smooth_variance), size) + releases * eta + _ROUNDING
    return min(box, ball, support_leakage(values, size))


@functools.lru_cache(maxsize=64)
def _mass_at_zero(variance: float) -> float:
    """p(0) of the discrete Gaussian, rounded up."""
    reach = math.ceil(9 * math.sqrt(variance)) + 1
    return 1 / math.fsum(math.exp(-k * k / (2 * variance)) for k in range(-reach, reach + 1))


def _ball(ratio: float, size: int) -> float:
    """Ln ∫ max_{‖x‖ <= R} φ(y - x) dy in `size` dimensions, `ratio` = R/σ: the ball's volume and what lies around it.

    >>> round(math.exp(_ball(1 / 0.2, 1)), 2)
    4.99
    """
    if not ratio:
        return 0.0
    logs = [size * math.log(ratio) - size / 2 * math.log(2) - math.lgamma(size / 2 + 1)]
    for j in range(size):  # ∫ (R + r)^(d-1) e^(-r²/2) dr, term by term
        moment = (j - 1) / 2 * math.log(2) + math.lgamma((j + 1) / 2)
        surface = math.log(2) - size / 2 * math.log(2) - math.lgamma(size / 2)
        logs.append(math.log(math.comb(size - 1, j)) + (size - 1 - j) * math.log(ratio) + moment + surface)
    most = max(logs)
    return most + math.log(math.fsum(math.exp(x - most) for x in logs))
