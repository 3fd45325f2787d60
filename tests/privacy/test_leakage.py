"""Maximal leakage: against brute force, against integrals, and against the best attacker."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securesplit.privacy.accounting import ROUNDING_VARIANCE, compose, identification_bound, loss_of
from securesplit.privacy.leakage import maximal_leakage
from securesplit.privacy.release import ReleaseSpec

COARSE = ReleaseSpec("certified", (1,), "int16", step=0.5, clip_norm=1.0, sigma_per_clip=0.15)


SIX = replace(COARSE, step=1 / 3, sigma_per_clip=0.1167, levels=(-3, 2))


def channel(variance, most, least=None):
    """``P[y | x]`` of the one-number mechanism for every clean value, by its definition."""
    least = -most if least is None else least
    reach = math.ceil(12 * math.sqrt(variance)) + 2
    values = np.arange(least - reach, most + reach + 1)
    mass = np.exp(-((values[None] - np.arange(least, most + 1)[:, None]) ** 2) / (2 * variance))
    return mass / mass.sum(1, keepdims=True)


@pytest.mark.parametrize("sigma", [0.05, 0.1167, 0.3, 2.0])
def test_levels_that_no_head_uses_do_not_count(sigma):
    """Six levels on a grid of seven: the sum over six, not over seven, and at most six times a guess."""
    spec = replace(SIX, sigma_per_clip=sigma)
    exact = channel(float(spec.sigma_squared), 2, -3).max(0).sum()
    assert exact == pytest.approx(math.exp(spec.loss.leakage), rel=1e-9)
    assert spec.repeated(10**6).identification_bound(1000) == pytest.approx(6e-3, rel=1e-6)
    assert replace(spec, levels=None).repeated(10**6).identification_bound(1000) == pytest.approx(7e-3, rel=1e-6)


@pytest.mark.parametrize("variance", [0.01, 0.09, 0.5, 4.0, 300.0])
@pytest.mark.parametrize("most", [1, 2, 5, 40])
def test_one_number_is_exact(variance, most):
    """Σ_y max_x P[y | x], summed."""
    exact = channel(variance, most).max(0).sum()
    rest = variance - ROUNDING_VARIANCE
    found = maximal_leakage(variance, 2 * most + 1, 1, radius=most, smooth_variance=rest, eta=1e-16)
    assert exact <= math.exp(found) * (1 + 1e-9)
    assert math.exp(found) == pytest.approx(exact, rel=2e-3)


def test_several_releases_by_brute_force():
    """Two and three releases of one photo: the sum over all tuples of integers."""
    one = channel(0.09, 2)
    for releases in (2, 3):
        together = one
        for _ in range(releases - 1):
            together = (together[:, :, None] * one[:, None, :]).reshape(len(one), -1)
        exact = together.max(0).sum()
        assert exact <= math.exp(COARSE.repeated(releases).leakage) <= 5.0001


@pytest.mark.parametrize("ratio", [0.5, 2.0, 6.0])
def test_the_ball_in_two_dimensions_by_integration(ratio):
    """∫ exp(-dist(y, ball)² / 2) dy / 2π on a grid."""
    sigma, radius = 50.0, 50.0 * ratio
    axis = np.linspace(-radius - 8 * sigma, radius + 8 * sigma, 1201)
    outside = np.maximum(np.hypot(axis[:, None], axis[None]) - radius, 0.0) / sigma
    exact = np.exp(-(outside**2) / 2).sum() * (axis[1] - axis[0]) ** 2 / (2 * np.pi * sigma**2)
    values = 2 * int(radius) + 1
    found = maximal_leakage(sigma**2 + 2, values, 2, radius=radius, smooth_variance=sigma**2, eta=1e-16)
    assert math.exp(found) == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize("numbers", [1, 2, 4, 16])
def test_the_best_attacker_stays_below(numbers):
    """The matched filter on candidates all over the ball."""
    rng = np.random.default_rng(numbers)
    sigma, candidates = 0.25, 500
    points = rng.normal(size=(candidates, numbers))
    points /= np.maximum(1, np.linalg.norm(points, axis=1, keepdims=True))
    seen = points + rng.normal(0, sigma, points.shape)
    hits = (((seen[:, None] - points[None]) ** 2).sum(-1).argmin(1) == np.arange(candidates)).mean()
    bound = loss_of((256 * sigma) ** 2, 2 * 256.0, numbers).identification_bound(candidates)
    assert hits <= bound + 3 * math.sqrt(bound * (1 - bound) / candidates)


@settings(deadline=None)
@given(st.floats(0.05, 50), st.floats(1, 60), st.integers(1, 16), st.integers(1, 50))
def test_more_noise_leaks_less_and_more_releases_leak_more(sigma, radius, size, releases):
    def leak(s, r, k):
        values = 2 * math.floor(r) + 1
        return maximal_leakage(s * s, values, size, radius=r, smooth_variance=s * s - 2, eta=1e-16, releases=k)

    assert 0 <= leak(1.1 * sigma, radius, releases) <= leak(sigma, radius, releases) + 1e-9
    assert leak(sigma, radius + 1, releases) >= leak(sigma, radius, releases) - 1e-9
    assert leak(sigma, radius, releases + 1) >= leak(sigma, radius, releases) - 1e-9
    assert leak(sigma, radius, releases) <= size * math.log(2 * math.floor(radius * (1 + 1e-12)) + 1) + 1e-9


def test_a_few_values_are_certified_where_gaussian_dp_is_vacuous():
    assert identification_bound(1000, COARSE.loss.mu) == 1.0
    assert COARSE.loss.identification_bound(1000) < 5e-3
    assert COARSE.repeated(10**6).identification_bound(1000) <= 5.001e-3


def test_leakage_adds_up():
    one = COARSE.loss
    assert compose([one, one]).leakage == pytest.approx(2 * one.leakage)
    assert one.times(3).leakage == pytest.approx(3 * one.leakage)
    assert COARSE.repeated(3).leakage < one.times(3).leakage
    assert one.times(3).support == pytest.approx(3 * math.log(5))
    assert COARSE.repeated(3).support == pytest.approx(math.log(5))
