import doctest
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securesplit.privacy import accounting
from securesplit.privacy.accounting import (
    NO_LOSS,
    UNBOUNDED,
    Loss,
    compose,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    identification_bound,
    loss_of,
    zcdp_delta,
    zcdp_epsilon,
)
from securesplit.privacy.exact import delta as exact_delta

epsilons = st.floats(0.05, 60)
mus = st.floats(0.05, 12)
deltas = st.floats(1e-12, 1e-2)


def test_doctests():
    found = doctest.testmod(accounting)
    assert found.attempted >= 12
    assert found.failed == 0


@pytest.mark.parametrize(("epsilon", "sigma"), [(1, 7.46), (2, 3.99), (4, 2.16), (8, 1.20), (16, 0.69)])
def test_the_table_of_sigma_per_clip(epsilon, sigma):
    assert round(2 / gaussian_mu(epsilon, 1e-5), 2) == sigma


def test_the_textbook_formula_under_noises_at_16():
    """√(2 ln(1.25/δ))/ε holds for ε <= 1 only (Dwork and Roth 2014, theorem A.1): at 16 its δ is not 1e-5."""
    textbook = math.sqrt(2 * math.log(1.25 / 1e-5)) / 16
    assert round(textbook, 3) == 0.303
    assert round(1 / gaussian_mu(16), 3) == 0.344
    assert gaussian_delta(16, 1 / textbook) > 5e-5
    assert gaussian_epsilon(1 / textbook) > 18.8


def test_agrees_with_high_precision():
    """Against mpmath with 60 digits, also far in the tails."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        for epsilon, mu in [(0.5, 0.3), (4, 1.0), (16, 2.9), (60, 7.0), (1000, 41.0), (3, 0.2)]:
            exact = mpmath.ncdf(mu / 2 - mpmath.mpf(epsilon) / mu) - mpmath.exp(epsilon) * mpmath.ncdf(
                -mu / 2 - mpmath.mpf(epsilon) / mu
            )
            assert gaussian_delta(epsilon, mu) == pytest.approx(float(exact), rel=1e-6, abs=1e-16)


@given(epsilons, mus, deltas)
@settings(max_examples=150, deadline=None)
def test_monotone_in_epsilon_delta_and_clip_norm(epsilon, mu, delta):
    """More ε, more δ or a smaller clip norm need less noise; more noise spends less."""
    assert gaussian_delta(epsilon * 1.1, mu) <= gaussian_delta(epsilon, mu) * (1 + 1e-9) <= 1 + 1e-9
    assert gaussian_delta(epsilon, mu) <= gaussian_delta(epsilon, mu * 1.1) * (1 + 1e-9) + 1e-300
    assert gaussian_mu(epsilon * 1.1, delta) > gaussian_mu(epsilon, delta)
    assert gaussian_mu(epsilon, delta * 1.5) > gaussian_mu(epsilon, delta)
    assert loss_of(100.0, 2 * 5.0, 4).epsilon(delta) < loss_of(100.0, 2 * 5.5, 4).epsilon(delta)


@given(epsilons, deltas)
@settings(max_examples=60, deadline=None)
def test_mu_and_epsilon_are_inverse(epsilon, delta):
    assert gaussian_epsilon(gaussian_mu(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-6)


@given(mus, deltas)
@settings(max_examples=60, deadline=None)
def test_searched_roots_are_on_the_safe_side(mu, delta):
    assert gaussian_delta(gaussian_epsilon(mu, delta), mu) <= delta
    assert zcdp_delta(zcdp_epsilon(mu**2 / 2, delta), mu**2 / 2) <= delta


@given(mus, deltas)
@settings(max_examples=60, deadline=None)
def test_zcdp_is_never_better_than_the_gaussian_it_bounds(mu, delta):
    assert zcdp_epsilon(mu**2 / 2, delta) >= gaussian_epsilon(mu, delta) * (1 - 1e-9)


def test_zcdp_conversion_is_the_optimum_over_orders():
    rho, epsilon = 1.3, 9.0
    orders = 1 + np.logspace(-3, 3, 200_001)
    exponents = (orders - 1) * (orders * rho - epsilon) + orders * np.log1p(-1 / orders) - np.log(orders - 1)
    by_grid = math.exp(exponents.min())
    assert zcdp_delta(epsilon, rho) == pytest.approx(by_grid, rel=1e-6)


@pytest.mark.parametrize("sigma", [3.0, 8.0, 40.0])
@pytest.mark.parametrize("ratio", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("epsilon", [0.5, 4.0, 12.0])
def test_the_integer_bounds_hold_where_the_truth_is_known(sigma, ratio, epsilon):
    """One dimension: the exact sum never exceeds what zCDP and what smoothing promise, and smoothing is close."""
    shift = max(1, round(ratio * sigma))
    loss = loss_of(sigma**2, float(shift), 1)
    exact = exact_delta(epsilon, loss.integers)
    smoothed = math.exp(loss.eta) * gaussian_delta(epsilon - 2 * loss.eta, loss.mu)
    assert exact <= smoothed * (1 + 1e-9) + 1e-15
    assert exact <= zcdp_delta(epsilon, loss.rho) * (1 + 1e-9) + 1e-15


@pytest.mark.parametrize("direction", [(1, 0), (1, 1), (3, 1), (2, -3)])
def test_the_integer_bound_holds_in_two_dimensions(direction):
    """Brute force over the plane, for shifts in several directions: a discrete Gaussian is not round."""
    sigma, reach = 4.0, 50
    shift = np.array(direction) * 2
    axis = np.arange(-reach, reach + 1)
    x, y = np.meshgrid(axis, axis, indexing="ij")

    def pmf(at):
        weights = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))
        return weights / np.exp(-(axis**2) / (2 * sigma**2)).sum() ** 2

    p, q = pmf((0, 0)), pmf(shift)
    loss = loss_of(sigma**2, float(np.linalg.norm(shift)), 2)
    for epsilon in (0.1, 0.5, 1.0, 2.0, 4.0):
        exact = np.maximum(p - math.exp(epsilon) * q, 0).sum()
        assert exact <= gaussian_delta(epsilon, loss.mu) + 1e-12
        assert exact <= zcdp_delta(epsilon, loss.rho) + 1e-12


def test_smoothing_factor_is_as_small_as_claimed():
    """The convolution against the discrete Gaussian: every probability within e^±η (rounding variance 1 shows it)."""
    sigma, rounding = 3.0, 1.0
    theta = 2 * math.exp(-2 * math.pi**2 * rounding)
    first = math.sqrt(sigma**2 - rounding)
    u = np.linspace(-40, 40, 160_001)
    gaussian = np.exp(-(u**2) / (2 * first**2)) / (first * math.sqrt(2 * math.pi))
    integers = np.arange(-60, 61)
    normaliser = np.exp(-((integers[:, None] - u) ** 2) / (2 * rounding)).sum(0)
    weights = np.exp(-(integers**2) / (2 * sigma**2))
    for y in (0, 1, 5, 9):
        mixed = (gaussian * np.exp(-((y - u) ** 2) / (2 * rounding)) / normaliser).sum() * (u[1] - u[0])
        exact = weights[integers == y][0] / weights.sum()
        assert abs(math.log(mixed / exact)) <= math.log((1 + theta) / (1 - theta)) + 1e-12


@given(st.lists(st.tuples(st.floats(1, 1e4), st.floats(0.1, 50), st.integers(1, 16)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_composition(parts):
    losses = [loss_of(*part) for part in parts]
    together = compose(losses)
    assert together.rho == pytest.approx(sum(loss.rho for loss in losses))
    assert all(together.mu >= loss.mu for loss in losses)
    assert compose([compose(losses[:1]), compose(losses[1:])]).rho == pytest.approx(together.rho)
    assert together.epsilon() >= max(loss.epsilon() for loss in losses) * (1 - 1e-9)


def test_k_releases_are_one_with_root_k_of_the_shift():
    one = loss_of(48.0**2, 80.0, 4)
    assert one.times(64).mu == pytest.approx(8 * one.mu)
    assert compose([one] * 64).epsilon() == pytest.approx(one.times(64).epsilon())


def test_within_agrees_with_epsilon():
    loss = loss_of(48.0**2, 80.0, 4)
    assert loss.within(loss.epsilon() * (1 + 1e-9))
    assert not loss.within(loss.epsilon() * (1 - 1e-6))


def test_no_noise_promises_nothing():
    assert loss_of(0, 10.0, 4) == UNBOUNDED
    assert loss_of(9.0, math.inf, 4) == UNBOUNDED
    assert UNBOUNDED.epsilon() == math.inf
    assert not UNBOUNDED.within(1e6)
    assert UNBOUNDED.identification_bound(1000) == 1.0


def test_no_release_reveals_nothing():
    assert NO_LOSS.epsilon() == 0.0
    assert NO_LOSS.identification_bound(1000) == pytest.approx(1e-3)
    assert compose([]) == NO_LOSS


def test_tiny_noise_on_the_grid_falls_back_to_zcdp():
    loss = loss_of(1.0, 2.0, 2)
    assert loss.mu == math.inf
    assert loss.epsilon() == pytest.approx(zcdp_epsilon(2.0))


@given(st.integers(2, 10**6), mus)
def test_identification_bound_lies_between_guessing_and_certainty(candidates, mu):
    bound = identification_bound(candidates, mu)
    assert 1 / candidates <= bound <= 1
    assert identification_bound(candidates, mu * 1.1) >= bound
    assert identification_bound(candidates + 1, mu) <= bound


def test_the_matched_filter_meets_the_identification_bound():
    """N = 2: the best attacker on two points Δ apart succeeds Φ(μ/2) often, below the bound Φ(μ) for any prior."""
    mu = 1.2
    best = (1 + math.erf(mu / 2 / math.sqrt(2))) / 2
    assert best <= identification_bound(2, mu)


@pytest.mark.parametrize("attacker", ["matched filter"])
def test_no_simulated_attacker_beats_the_certified_bound(attacker):
    """1,000 candidates on the sphere of radius C in 16 dimensions, the optimal attacker, σ/C from 0.3 to 2."""
    rng = np.random.default_rng(5)
    candidates = rng.normal(size=(1000, 16))
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    for sigma in (0.3, 0.69, 1.2, 2.0):
        noisy = candidates + rng.normal(0, sigma, candidates.shape)
        picks = ((noisy[:, None] - candidates[None]) ** 2).sum(-1).argmin(1)
        rate = (picks == np.arange(1000)).mean()
        assert rate <= identification_bound(1000, 2 / sigma), attacker


@pytest.mark.parametrize("delta", [0, 1, -1e-5, math.nan])
def test_a_senseless_delta_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        gaussian_epsilon(1.0, delta)


def test_a_negative_epsilon_is_refused():
    with pytest.raises(ValueError, match="negative"):
        gaussian_mu(-1.0)


def test_losses_compare_by_value():
    assert Loss(1.0, 2.0, 0.0) == Loss(1.0, 2.0, 0.0)


def test_importing_accounting_stays_light():
    code = "import sys, securesplit.privacy.accounting; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "scipy", "tensorflow", "sklearn", "click", "zmq", "socket", "asyncio", "cryptography"}
    assert not heavy & set(loaded)
