import ast
import inspect
import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from securesplit.privacy import discrete_gaussian
from securesplit.privacy.discrete_gaussian import DiscreteGaussian, bernoulli_exp, discrete_laplace
from securesplit.privacy.noise import BitStream

SEED = bytes(range(32))


def probabilities(variance, reach):
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * float(variance)))
    return weights / weights.sum()


def chi_squared(samples, expected, reach):
    """Statistic and degrees of freedom, with cells of small expectation pooled at both ends."""
    counts = Counter(samples)
    observed = np.array([counts[y] for y in range(-reach, reach + 1)], float)
    expected = expected * len(samples)
    keep = expected >= 8
    observed = np.append(observed[keep], len(samples) - observed[keep].sum())
    expected = np.append(expected[keep], len(samples) - expected[keep].sum())
    usable = expected > 1e-9
    return ((observed - expected)[usable] ** 2 / expected[usable]).sum(), usable.sum() - 1


def upper_quantile(degrees):
    """The 99.9 % quantile of χ² (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 3.0902 * math.sqrt(spread)) ** 3


@pytest.mark.parametrize(
    "variance", [Fraction(1, 4), Fraction(1), Fraction(7, 3), Fraction(400), Fraction(123_457, 1_000)]
)
def test_samples_follow_the_closed_form(variance):
    reach = math.ceil(12 * math.sqrt(variance))
    samples = DiscreteGaussian(variance, BitStream(SEED).below).samples(30_000)
    statistic, degrees = chi_squared(samples, probabilities(variance, reach), reach)
    assert statistic < upper_quantile(degrees)


def test_the_chi_squared_test_has_teeth():
    """Rounded continuous noise of σ = 1, and a variance that is 5 % off, both fail it."""
    rounded = np.rint(np.random.default_rng(1).normal(0, 1, 30_000)).astype(int).tolist()
    statistic, degrees = chi_squared(rounded, probabilities(1, 12), 12)
    assert statistic > upper_quantile(degrees)
    wide = DiscreteGaussian(Fraction(21, 20), BitStream(SEED).below).samples(30_000)
    statistic, degrees = chi_squared(wide, probabilities(1, 12), 12)
    assert statistic > upper_quantile(degrees)


def test_laplace_follows_the_closed_form():
    below = BitStream(SEED).below
    samples = [discrete_laplace(3, below) for _ in range(30_000)]
    weights = np.exp(-np.abs(np.arange(-60, 61)) / 3)
    statistic, degrees = chi_squared(samples, weights / weights.sum(), 60)
    assert statistic < upper_quantile(degrees)


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 7), (1, 1), (5, 2), (40, 3)])
def test_bernoulli_exp(numerator, denominator):
    below = BitStream(SEED).below
    count, p = 20_000, math.exp(-numerator / denominator)
    hits = sum(bernoulli_exp(numerator, denominator, below) for _ in range(count))
    assert abs(hits - count * p) <= 4 * math.sqrt(count * p * (1 - p)) + 1e-9


def test_the_sampler_holds_no_floating_point():
    """No float literal, no true division, no float function: the paper's algorithm in integers."""
    tree = ast.parse(inspect.getsource(discrete_gaussian))
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), node.lineno
        assert not isinstance(node, ast.Div), "true division"
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported <= {"annotations", "Callable", "Fraction", "isqrt"}


def test_neighbouring_numbers_are_independent():
    samples = np.array(DiscreteGaussian(Fraction(900), BitStream(SEED).below).samples(20_000), float)
    for lag in (1, 2, 16):
        assert abs(np.corrcoef(samples[:-lag], samples[lag:])[0, 1]) < 4 / math.sqrt(len(samples))


def test_a_variance_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        DiscreteGaussian(Fraction(0), BitStream(SEED).below)


@pytest.mark.parametrize("n", [1, 2, 3, 255, 256, 257, 10**30])
def test_bit_stream_is_uniform_below_n(n):
    below = BitStream(SEED).below
    draws = [below(n) for _ in range(4_000)]
    assert min(draws) >= 0
    assert max(draws) < n
    assert abs(sum(draws) / len(draws) - (n - 1) / 2) <= 4 * n / math.sqrt(12 * len(draws))


def test_bit_stream_continues_over_its_chunks():
    whole, mixed = BitStream(SEED), BitStream(SEED)
    bytes_one_by_one = bytes(whole.below(256) for _ in range(10_000))
    sizes = itertools.cycle([1, 2, 3, 8])
    parts, at = [], 0
    while at < 9_900:
        size = next(sizes)
        parts.append(mixed.below(256**size).to_bytes(size))
        at += size
    assert b"".join(parts) == bytes_one_by_one[:at]
