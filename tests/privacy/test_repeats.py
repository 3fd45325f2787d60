"""What a server gathers that is sent one photo in many guises: edited, from another device, under other noises."""

import math
from dataclasses import replace

import numpy as np
import pytest

from securesplit.device.release_step import Releaser
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.privacy.noise import NoiseSource
from securesplit.privacy.release import release, saturate, to_grid

EDITS = 24


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load()


@pytest.fixture(scope="module")
def edited(bundle):
    """By lesion, the embeddings and pixels of the photo and of versions of it that differ in one pixel by one."""
    head, side = bundle.open_head(), bundle.manifest.side
    rng = np.random.default_rng(1)
    lesions = []
    for seed in (3, 4, 5):
        photo = draw_lesion(seed, side)
        versions = [photo]
        for _ in range(EDITS):
            version = photo.copy()
            row, column, channel = [*rng.integers(0, side, 2).tolist(), int(rng.integers(3))]
            version[row, column, channel] ^= 1
            versions.append(version)
        lesions.append([(version, head(version)["certified"]) for version in versions])
    return lesions


def test_edits_of_a_photo_say_little_more_than_its_level(bundle, edited):
    """Their noise-free releases are one level, or two neighbours where the score lies at a threshold."""
    spec = bundle.preset("certified").spec
    for versions in edited:
        levels = {int(to_grid(embedding, spec)[0]) for _, embedding in versions}
        assert max(levels) - min(levels) <= 1


def test_averaging_edits_ends_at_the_level(bundle, edited):
    """The mean over edits, each with a draw of its own, is a level: nothing finer comes out, and no more than K."""
    spec, source = bundle.preset("certified").spec, NoiseSource(bytes(range(32)))
    for versions in edited:
        drawn = [release(e, spec, source.sampler(p, bundle.identity, spec))[0] for p, e in versions]
        levels = sorted(int(to_grid(e, spec)[0]) for _, e in versions)
        assert levels[0] - 0.5 <= np.mean(drawn) <= levels[-1] + 0.5
    assert spec.repeated(10**9).identification_bound(1000) <= (spec.sensitivity + 1) / 1000 + 1e-9


def test_another_device_draws_other_noise_on_the_same_level(bundle, edited):
    spec = bundle.preset("certified").spec
    photo, embedding = edited[0][0]
    level = saturate(to_grid(embedding, spec), spec)[0]
    count = 1000
    secrets = [number.to_bytes(32, "big") for number in range(1, count + 1)]
    drawn = [release(embedding, spec, NoiseSource(s).sampler(photo, bundle.identity, spec))[0] for s in secrets]
    moved = moved_share(spec)
    assert np.mean(np.array(drawn) != level) == pytest.approx(moved, abs=4 * math.sqrt(moved * (1 - moved) / count))
    assert np.median(drawn) == level


def test_a_stronger_promise_draws_its_own_noise(bundle, edited):
    """Releases of one photo under several ε are several releases: independent, and each with its own ledger name."""
    spec, source = bundle.preset("certified").spec, NoiseSource(bytes(range(32)))
    photo, _ = edited[0][0]
    specs = [spec, spec.with_epsilon(8), spec.with_epsilon(4), replace(spec, sigma_per_clip=spec.sigma_per_clip + 1e-4)]
    assert len({source.release_id(photo, bundle.identity, s) for s in specs}) == 4
    streams = {source.sampler(photo, bundle.identity, s)._uniform(1 << 128) for s in specs}
    assert len(streams) == 4, "each variance has its own key, not another reading of the same bits"


def test_the_shipped_noise_is_the_accounted_one(bundle):
    """From pixels to the release, as a device does it: every level, thousands of photos."""
    releaser, spec = Releaser(bundle, bytes(range(32)), privacy="certified"), bundle.preset("certified").spec
    lowest, highest = spec.levels
    rng, offsets = np.random.default_rng(2), []
    for number in range(3000):
        level = lowest + number % (highest - lowest + 1)
        embedding = np.array([(level + 0.5 * np.sign(level)) * spec.step], np.float32)
        pixels = rng.integers(0, 256, (4, 4, 3), np.uint8)
        offsets.append(int(releaser._noisy(pixels, embedding)[0]) - level)
    moved = moved_share(spec)
    assert np.mean(np.array(offsets) != 0) == pytest.approx(moved, abs=4 * math.sqrt(moved * (1 - moved) / 3000))
    assert abs(np.sum(offsets)) <= 4 * math.sqrt(3000 * moved)


def test_an_all_knowing_attacker_just_meets_the_bound(bundle):
    """Six photos, one a level: the bound is 97 %, certainty would mean that there is no noise."""
    spec, source = bundle.preset("certified").spec, NoiseSource(bytes(range(32)))
    lowest, highest = spec.levels
    rng, hits, count = np.random.default_rng(3), 0, 6000
    for number in range(count):
        level = lowest + number % (highest - lowest + 1)
        noise = source.sampler(rng.integers(0, 256, (4, 4, 3), np.uint8), bundle.identity, spec)
        seen = release(np.array([(level + 0.5 * np.sign(level)) * spec.step], np.float32), spec, noise)[0]
        hits += min(max(seen, lowest), highest) == level
    bound = spec.loss.identification_bound(highest - lowest + 1)
    assert bound < 0.98
    assert hits / count == pytest.approx(bound, abs=4 * math.sqrt(bound * (1 - bound) / count))


def moved_share(spec):
    """How often the noise is not 0, by its definition."""
    weights = np.exp(-(np.arange(-60, 61) ** 2) / (2 * float(spec.sigma_squared)))
    return 1 - weights[60] / weights.sum()
