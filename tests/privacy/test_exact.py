"""The exact loss of releases of one integer: against brute force over all that may be released."""

import doctest
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securesplit.privacy import exact
from securesplit.privacy.accounting import NO_LOSS, compose, loss_of, zcdp_epsilon
from securesplit.privacy.exact import IntegerReleases, delta
from securesplit.privacy.release import ReleaseSpec

SHIPPED = ReleaseSpec("certified", (1,), "int16", step=1 / 3, clip_norm=1.0, sigma_per_clip=0.1167, levels=(-3, 2))


@pytest.fixture(autouse=True)
def nothing_remembered():
    """Sums of before would hide a fault in how they are made."""
    exact._losses.cache_clear()
    exact._sum_of_samples.cache_clear()


def pair(variance, shift):
    """``P[y]`` at 0 and at `shift`, over all integers that matter."""
    reach = math.ceil(12 * math.sqrt(variance)) + abs(shift)
    y = np.arange(-reach, reach + 1)
    one, other = np.exp(-(y**2) / (2 * variance)), np.exp(-((y - shift) ** 2) / (2 * variance))
    return one / one.sum(), other / one.sum()


def by_brute_force(epsilon, noises):
    """δ(ε) = Σ max(0, P - e^ε Q) over all tuples of integers."""
    p = q = np.ones(1)
    for variance, shift in noises:
        one, other = pair(variance, shift)
        p, q = np.multiply.outer(p, one).ravel(), np.multiply.outer(q, other).ravel()
    return np.maximum(p - math.exp(epsilon) * q, 0).sum()


def test_doctests():
    found = doctest.testmod(exact)
    assert (found.attempted, found.failed) == (2, 0)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 4.0, 30.0])
@pytest.mark.parametrize("variance", [0.1225, 1.0, 9.0, 400.0])
def test_one_release(variance, epsilon):
    assert delta(epsilon, (IntegerReleases(variance, 5),)) == pytest.approx(by_brute_force(epsilon, [(variance, 5)]))


@pytest.mark.parametrize("epsilon", [1.0, 8.0, 40.0])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("variance", [0.1225, 1.0, 4.0])
def test_several_releases_under_one_noise(variance, count, epsilon):
    found = delta(epsilon, (IntegerReleases(variance, 5, count),))
    assert found == pytest.approx(by_brute_force(epsilon, [(variance, 5)] * count), rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("epsilon", [1.0, 8.0, 40.0])
def test_several_releases_under_several_noises(epsilon):
    """Losses are rounded up to 0.01, so δ lies between the truth at ε and the truth a few steps below."""
    noises = [(0.5, 5), (2.0, 5), (2.0, 5), (7.0, 6)]
    found = delta(epsilon, (IntegerReleases(0.5, 5), IntegerReleases(2.0, 5, 2), IntegerReleases(7.0, 6)))
    assert by_brute_force(epsilon, noises) <= found <= by_brute_force(epsilon - 0.03, noises) * (1 + 1e-6)


@given(st.floats(0.05, 30), st.integers(1, 12), st.integers(1, 30), st.floats(0.1, 40))
@settings(max_examples=100, deadline=None)
def test_bounds_hold_for_wider_pairs_and_more_releases(variance, shift, count, epsilon):
    found = delta(epsilon, (IntegerReleases(variance, shift, count),))
    assert found <= delta(epsilon, (IntegerReleases(variance, shift + 1, count),)) + 1e-12
    assert found <= delta(epsilon, (IntegerReleases(variance, shift, count + 1),)) + 1e-12
    assert loss_of(variance, shift, 1).times(count).epsilon() <= zcdp_epsilon(count * shift**2 / (2 * variance))


def test_the_shipped_noise_is_accounted_by_its_levels():
    """Five steps from level to level; 195.8 on all seven integers of the grid, 226.7 by zCDP over 2 C."""
    assert SHIPPED.sensitivity == 5
    assert SHIPPED.loss.epsilon() == pytest.approx(142.77, abs=0.01)
    assert replace(SHIPPED, levels=None).loss.epsilon() == pytest.approx(195.80, abs=0.01)
    assert zcdp_epsilon(6**2 / (2 * float(SHIPPED.sigma_squared))) == pytest.approx(226.68, abs=0.01)


@pytest.mark.parametrize("epsilon", [1, 2, 4, 8, 16, 64, 300])
def test_an_epsilon_is_met_and_hardly_undercut(epsilon):
    spec = SHIPPED.with_epsilon(epsilon)
    noise = [(float(spec.sigma_squared), 5)]
    assert by_brute_force(epsilon, noise) <= 1e-5 * (1 + 1e-6)
    assert spec.loss.epsilon() > 0.999 * epsilon
    assert spec.sigma_per_clip < 0.9 * replace(SHIPPED, levels=None).with_epsilon(epsilon).sigma_per_clip


def test_one_noise_composes_to_one_entry_whatever_the_order():
    one, other = loss_of(4.0, 5, 1), loss_of(0.5, 5, 1)
    together = compose([one, other, one])
    assert together.integers == (IntegerReleases(0.5, 5, 1), IntegerReleases(4.0, 5, 2))
    assert compose([NO_LOSS, one]).integers == one.integers
    assert compose([one, loss_of(100.0, 10.0, 4)]).integers is None


def test_a_fraction_of_releases_has_no_exact_loss():
    six = loss_of(4.0, 5, 1).times(6)
    assert six.times(Fraction(4, 3)).integers == (IntegerReleases(4.0, 5, 8),)
    assert six.times(Fraction(5, 4)).integers is None


def test_what_is_too_much_to_sum_falls_back_on_the_bounds():
    many = loss_of(4.0, 5, 1).times(10**6)
    assert delta(1e9, many.integers) == 1.0
    assert many.epsilon() == pytest.approx(zcdp_epsilon(many.rho), rel=0.01)


def test_a_very_large_epsilon_overflows_nowhere():
    assert loss_of(0.01, 60, 1).epsilon() > 10_000


@pytest.mark.parametrize(
    ("ends", "cut"),
    [
        ([], 0),
        ([1e-3], 0),
        ([1e-23], 1),
        ([1e-24, 1e-24, 1e-24], 3),
        ([6e-23, 6e-23], 1),  # together they hold more than may be left out
    ],
)
def test_only_tails_that_hold_nothing_are_left_out(ends, cut):
    masses = [*ends, 0.25, 0.5, 0.25, *reversed(ends)]
    assert exact._without_tails(masses) == tuple(masses[cut : len(masses) - cut])


def test_what_is_left_out_is_added_to_delta():
    """δ never reaches 0: far out it is what the tails may hold, for every release."""
    assert delta(1e6, (IntegerReleases(0.5, 5, 3),)) == pytest.approx(3e-20, rel=1e-9, abs=0)


@pytest.mark.parametrize(
    ("sigma", "shift", "releases", "epsilon"),
    [
        (0.7, 5, 1, 55.936077),
        (0.7, 5, 4, 162.899544),
        (1.0, 5, 1, 32.434248),
        (1.0, 5, 4, 89.980981),
        (2.0, 5, 1, 13.072241),
        (2.0, 5, 4, 33.211104),
        (4.0, 5, 1, 5.692997),
        (4.0, 5, 4, 13.207925),
        (3.0, 1, 1, 1.267488),
        (3.0, 1, 4, 2.754532),
    ],
)
def test_an_independent_accountant_agrees(sigma, shift, releases, epsilon):
    """ε at δ = 1e-5 by dp-accounting 0.6.0, which rounds up on a grid of 1e-4.

    ``privacy_loss_distribution.from_discrete_gaussian_mechanism(sigma, sensitivity=shift,
    value_discretization_interval=1e-4).self_compose(releases).get_epsilon_for_delta(1e-5)``
    """
    assert delta(epsilon, (IntegerReleases(sigma**2, shift, releases),)) == pytest.approx(1e-5, rel=2e-3)
