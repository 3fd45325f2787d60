"""What a server gathers that is sent one photo in many guises: edited, from another device, under other noises."""

import numpy as np
import pytest

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
        lesions.append([(version, head(version)["private"]) for version in versions])
    return lesions


def test_edits_of_a_photo_say_little_more_than_its_level(bundle, edited):
    """Their clean releases are one level, or two neighbours where the score lies at a threshold."""
    spec = bundle.preset("private").spec
    for versions in edited:
        levels = {int(to_grid(embedding, spec)[0]) for _, embedding in versions}
        assert max(levels) - min(levels) <= 1


def test_averaging_edits_ends_at_the_level(bundle, edited):
    """The mean over edits, each with a draw of its own, is a level: nothing finer comes out, and no more than K."""
    spec, source = bundle.preset("private").spec, NoiseSource(bytes(range(32)))
    for versions in edited:
        drawn = [release(e, spec, source.sampler(p, bundle.identity, spec))[0] for p, e in versions]
        levels = sorted(int(to_grid(e, spec)[0]) for _, e in versions)
        assert levels[0] - 0.5 <= np.mean(drawn) <= levels[-1] + 0.5
    assert spec.repeated(10**9).identification_bound(1000) <= (2 * int(spec.sensitivity / 2) + 1) / 1000 + 1e-9


def test_another_device_draws_other_noise_on_the_same_level(bundle, edited):
    spec = bundle.preset("private").spec
    photo, embedding = edited[0][0]
    level = saturate(to_grid(embedding, spec), spec)[0]
    secrets = [number.to_bytes(32, "big") for number in range(1, 200)]
    drawn = [release(embedding, spec, NoiseSource(s).sampler(photo, bundle.identity, spec))[0] for s in secrets]
    assert len(set(drawn)) > 1 or spec.sigma_per_clip < 0.16
    assert np.median(drawn) == level


def test_a_stronger_promise_draws_its_own_noise(bundle, edited):
    """Releases of one photo under several ε are several releases: independent, and each with its own ledger name."""
    spec, source = bundle.preset("private").spec, NoiseSource(bytes(range(32)))
    photo, _ = edited[0][0]
    names = {source.release_id(photo, bundle.identity, s) for s in (spec, spec.with_epsilon(8), spec.with_epsilon(4))}
    assert len(names) == 3
