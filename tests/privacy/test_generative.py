"""A9 on drawn lesions: it must reconstruct where nothing is defended, and only with a generator that learned."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("tensorflow", reason="A9 needs securesplit[train]")

from securesplit.audit import positive_control
from securesplit.audit.attacks import decoder, generative, generator, search
from securesplit.audit.results import NotRun
from securesplit.audit.time_budget import TimeBudget

SIDE, STEPS = 32, 40


@pytest.fixture(scope="module")
def context(small_audit):
    """At half of the audit's side, so that the generator learns in seconds."""
    profile = replace(
        small_audit.profile,
        side=SIDE,
        generated_photos=4,
        generator_updates=250,
        latent_steps=STEPS,
        population=24,
        decoder_updates=20,
    )
    small = replace(small_audit, profile=profile)
    assert generative.missing(small) == ""
    return small


@pytest.fixture(autouse=True)
def few_photos(monkeypatch):
    monkeypatch.setattr(positive_control, "TARGETS", 4)


def test_the_control_shows_the_attack_at_work(context):
    found = positive_control.by_generator(context)
    assert found.ssim.mean >= found.needed > found.baseline_ssim
    assert found.search_steps == STEPS


def test_the_control_notices_an_untrained_generator(context):
    again = replace(context)  # nothing kept
    again.keep("generator", lambda: generator.untrained(SIDE))
    found = positive_control.by_generator(again)
    assert found.ssim.mean < found.needed - 0.05


@pytest.mark.slow
def test_the_undefended_map_is_searched_by_gradients_and_gives_the_photo_away(context):
    found = generative.run(context, "none")
    assert (found.by, found.photos, found.search_steps) == ("gradients", 4, STEPS)
    assert found.skill.mean > 0.5
    assert found.ssim_gain.mean > 0.1
    assert found.own_original.mean > 0.5
    assert found.originals == 100


def test_a_table_of_few_values_is_searched_in_a_population(context):
    found = generative.run(context, "certified")
    assert (found.by, found.photos) == ("population", 4)
    assert found.skill.mean < 0.3


def test_who_goes_on_from_a_decoder_is_cut_short_where_that_was(context):
    """A4 and A9 have all the time that they want, and begin at what A3 had when its time was over, or later."""
    few = {"search_photos": 1, "search_steps": 2, "generated_photos": 1, "latent_steps": 2}
    fresh = replace(context, profile=replace(context.profile, **few))  # nothing kept
    fresh.keep("generator", lambda: generator.untrained(SIDE))

    def shortage(attack):
        return attack(fresh, "compact", TimeBudget()).cut_short

    trained = partial(decoder.run, fresh, "compact", len(fresh.auxiliary_photos))
    assert trained(TimeBudget(0.0)).cut_short == "after 0.01 s"
    assert [shortage(attack) for attack in (search.a4, generative.run)] == ["with A3", "with A3"]
    assert trained(TimeBudget()).cut_short == ""
    assert [shortage(attack) for attack in (search.a4, generative.run)] == ["", ""]


def test_a_population_is_weighted_by_likelihood():
    photos = np.stack([np.full((2, 2, 3), v, np.float32) for v in (0.0, 0.5, 1.0)])
    releases = np.array([[0.0], [1.0], [2.0]], np.float32)
    near = generative.weighted(photos, releases, releases[1:], 0.01)
    assert near == pytest.approx(photos[1:], abs=1e-6)
    between = generative.weighted(photos, releases, np.array([[0.5]], np.float32), 0.05)
    assert between == pytest.approx(0.25, abs=1e-4)
    anything = generative.weighted(photos, releases, releases[:1], 1e6)
    assert anything == pytest.approx(0.5, abs=1e-3)


def test_a_generator_without_time_is_not_run_and_voids_nothing(context):
    hurried = replace(context, profile=replace(context.profile, minutes=0.0))
    found = positive_control.by_generator(hurried)
    assert isinstance(found, NotRun)
    assert found.left_out
    missed = generative.run(hurried, "none")
    assert isinstance(missed, NotRun)
    assert not missed.left_out


def test_without_tensorflow_the_quick_audit_does_without_it_and_the_full_one_waits(context, monkeypatch):
    monkeypatch.setattr(generative.whitebox, "available", lambda: False)
    full = replace(context, profile=replace(context.profile, search_photos=16))
    quick, missed = (generative.run(each, "certified") for each in (context, full))
    assert "TensorFlow" in quick.reason == missed.reason
    assert (quick.left_out, missed.left_out) == (True, False)
