import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from securesplit.errors import BundleError, ConfigError
from securesplit.privacy.noise import NoiseSource
from securesplit.privacy.release import ReleaseSpec, from_grid, release, saturate, to_grid

NOISY = ReleaseSpec("certified", (4,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=0.3)
COMPACT = ReleaseSpec("compact", (2, 3), "int8", step=0.05)

floats = st.floats(-(2.0**100), 2.0**100, width=32)
steps = st.floats(1e-6, 10.0)
norms = st.floats(1e-3, 1e3)


@given(hnp.arrays(np.float32, 7, elements=floats), steps, norms)
@settings(max_examples=300, deadline=None)
def test_truncation_never_raises_the_norm(embedding, step, clip_norm):
    spec = ReleaseSpec("certified", (7,), "int16", step, clip_norm, 1.0)
    grid = to_grid(embedding, spec)
    assert sum(int(v) ** 2 for v in grid) <= (Fraction(clip_norm) / Fraction(step)) ** 2
    within = np.linalg.norm(embedding.astype(np.float64)) <= clip_norm
    if within:
        assert (np.abs(grid) * step <= np.abs(embedding.astype(np.float64)) * (1 + 1e-9)).all()


@given(st.sampled_from([1, 2, 5]), st.data(), steps, st.floats(0.5, 1e3))
@settings(max_examples=300, deadline=None)
def test_no_two_releases_before_their_noise_are_further_apart_than_is_accounted(size, data, step, clip_steps):
    """Of several numbers the norm need not be whole, and neither is the distance."""
    spec = ReleaseSpec("certified", (size,), "int16", step, step * clip_steps, 1.0)
    one, other = (to_grid(data.draw(hnp.arrays(np.float32, size, elements=floats)), spec) for _ in range(2))
    for apart in (one - other, 2 * one):  # a photo's opposite may come, too
        assert math.hypot(*apart) <= spec.sensitivity * (1 + 1e-9)


def test_an_embedding_of_several_numbers_has_a_norm_that_is_not_whole():
    spec = ReleaseSpec("guarded", (2,), "int16", step=1.0, clip_norm=2.5, sigma_per_clip=1.0)
    far, opposite = (to_grid(np.array([2.0, 1.0]) * sign, spec) for sign in (9, -9))
    assert 4 < math.dist(far, opposite) <= spec.sensitivity == 5


def test_an_embedding_on_the_sphere_stays_within_exactly():
    # 3-4-5: the norm is the clip norm itself, where a rounding error would show
    spec = ReleaseSpec("certified", (2,), "int16", step=0.1, clip_norm=0.5, sigma_per_clip=1.0)
    for angle in np.linspace(0, 2 * math.pi, 10_001):
        grid = to_grid(np.array([math.cos(angle), math.sin(angle)], np.float32) * 7, spec)
        assert int(grid @ grid) <= spec.clip_steps**2


def test_without_a_clip_norm_only_the_type_limits():
    embedding = np.array([[0.049, 0.05, -0.12], [9.0, -9.0, 0.0]], np.float32)
    assert to_grid(embedding, COMPACT).tolist() == [[0, 1, -2], [180, -180, 0]]
    out = release(embedding, COMPACT, None)
    assert out.dtype == np.int8
    assert out[1].tolist() == [127, -128, 0]


def test_round_trip_is_within_a_step():
    embedding = np.random.default_rng(1).normal(0, 1, (2, 3)).astype(np.float32)
    back = from_grid(release(embedding, COMPACT, None), COMPACT)
    assert back.dtype == np.float32
    assert np.abs(back - embedding).max() <= COMPACT.step


def test_noise_is_added_on_the_grid_and_saturated():
    spec = ReleaseSpec("certified", (4,), "int8", step=1 / 64, clip_norm=1.0, sigma_per_clip=4.0)
    pixels = np.zeros((2, 2, 3), np.uint8)
    embedding = np.full(4, 0.5, np.float32)
    source = NoiseSource(bytes(32))
    expected = to_grid(embedding, spec) + np.array(source.sampler(pixels, bytes(32), spec).samples(4))
    assert (release(embedding, spec, source.sampler(pixels, bytes(32), spec)) == saturate(expected, spec)).all()
    assert np.abs(expected).max() > 127, "the case must exercise the saturation"


def test_a_private_preset_never_goes_without_its_noise():
    with pytest.raises(ValueError, match="asks for noise"):
        release(np.zeros(4, np.float32), NOISY, None)


def test_noise_of_another_variance_is_refused():
    other = ReleaseSpec("certified", (4,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=0.1)
    sampler = NoiseSource(bytes(32)).sampler(np.zeros((1, 1, 3), np.uint8), bytes(32), other)
    with pytest.raises(ValueError, match="asks for noise"):
        release(np.zeros(4, np.float32), NOISY, sampler)


@pytest.mark.parametrize(
    "embedding", [np.zeros(5, np.float32), np.array([0, 0, 0, np.nan]), np.array([0, 0, 0, np.inf])]
)
def test_a_broken_embedding_is_refused(embedding):
    with pytest.raises(BundleError):
        to_grid(embedding, NOISY)


SIX = ReleaseSpec("certified", (1,), "int16", step=1 / 3, clip_norm=1.0, sigma_per_clip=0.1167, levels=(-3, 2))


@given(st.floats(-10, 10, width=32))
def test_a_release_of_levels_is_one_of_them_before_its_noise(score):
    [found] = to_grid(np.array([score], np.float32), SIX)
    [unlimited] = to_grid(np.array([score], np.float32), replace(SIX, levels=None))
    assert found == min(max(unlimited, -3), 2)
    assert SIX.sensitivity == 5
    assert replace(SIX, levels=None).sensitivity == 6


@pytest.mark.parametrize(
    "change",
    [
        {"levels": (-4, 2)},
        {"levels": (-3, 4)},
        {"levels": (2, -3)},
        {"levels": (1, 1)},
        {"levels": (-3, 2), "shape": (2,)},
        {"levels": (-3, 2), "clip_norm": None, "sigma_per_clip": 0.0},
    ],
)
def test_levels_that_cannot_be_are_refused(change):
    with pytest.raises(BundleError, match="level"):
        replace(SIX, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float32"},
        {"shape": ()},
        {"shape": (0,)},
        {"step": 0.0},
        {"step": math.nan},
        {"clip_norm": -1.0},
        {"clip_norm": 0.0, "sigma_per_clip": 0.0},
        {"clip_norm": math.inf, "sigma_per_clip": 0.0},
        {"clip_norm": None},
        {"sigma_per_clip": -0.1},
    ],
)
def test_a_contradictory_preset_is_refused(change):
    good = {
        "preset": "certified",
        "shape": (4,),
        "dtype": "int16",
        "step": 0.1,
        "clip_norm": 1.0,
        "sigma_per_clip": 0.3,
    }
    ReleaseSpec(**good)
    with pytest.raises(BundleError):
        ReleaseSpec(**(good | change))


@given(steps, norms, st.floats(1e-3, 100))
def test_the_variance_is_never_rounded_down(step, clip_norm, sigma):
    spec = ReleaseSpec("certified", (4,), "int16", step, clip_norm, sigma)
    assert spec.sigma_squared >= (Fraction(sigma) * Fraction(clip_norm) / Fraction(step)) ** 2


@given(st.floats(0.05, 200))
@settings(max_examples=50, deadline=None)
def test_asking_for_an_epsilon_gives_at_most_that_epsilon(epsilon):
    spec = NOISY.with_epsilon(epsilon)
    assert epsilon * 0.999 <= spec.loss.epsilon() <= epsilon
    assert (spec.shape, spec.dtype, spec.step, spec.clip_norm) == (NOISY.shape, "int16", NOISY.step, 1.0)


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf])
def test_a_senseless_epsilon_is_refused(epsilon):
    with pytest.raises(ConfigError):
        NOISY.with_epsilon(epsilon)


def test_no_epsilon_without_a_clip_norm():
    with pytest.raises(ConfigError, match="no clip norm"):
        COMPACT.with_epsilon(8.0)
