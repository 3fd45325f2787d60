"""The shipped bundle under attack: on lesions drawn here, and on real photos where they are at hand."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest

from securesplit.audit import goals, identification, photos, positive_control, reconstruction, suite
from securesplit.audit.attacks import floors, graph
from securesplit.audit.profile import FULL, QUICK
from securesplit.audit.time_budget import Allowance
from securesplit.model import Bundle
from tests.conftest import real_data_folder

pytest.importorskip("sklearn")
pytest.importorskip("scipy")

SMALL = replace(
    QUICK, own=300, victims=200, rebuilt=60, decoder_photos=(300,), decoder_updates=1500, candidates=(10, 100)
)
TRIVIAL_SSIM = 0.9
"""From here on a photo counts as recovered: what the positive control must reach."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session", params=["drawn", "real"])
def bench(request, tmp_path_factory):
    """An audit of the default bundle, prepared; on real photos only where they are at hand."""
    data = None
    if request.param == "real":
        data = real_data_folder()
        if data is None:
            pytest.skip("real photos are not at hand (SECURESPLIT_DATA)")
    effort = SMALL if data is None else replace(SMALL, own=600, victims=600)
    return suite.prepare(Bundle.load(), data, tmp_path_factory.mktemp("audit"), effort, (), lambda _: None)


@pytest.fixture(scope="session")
def a1(bench):
    """``a1(preset)``: its figures, computed once."""
    return cache(partial(reconstruction.a1, bench))


def test_positive_control(bench):
    """The same code recovers the photos from the undefended stem; else nothing here means anything."""
    found = positive_control.by_ridge(bench)
    assert found["ssim"]["mean"] >= TRIVIAL_SSIM
    assert found["ssim"]["mean"] > found["ssim_floor"]


def test_positive_control_of_the_search(bench):
    """The very search of A2 and A4 does too, in as many steps as the full audit gives it."""
    pytest.importorskip("tensorflow", reason="A2 and A4 need securesplit[train]")
    found = positive_control.by_search(replace(bench, effort=replace(bench.effort, search_steps=FULL.search_steps)))
    assert found["ssim"]["mean"] >= TRIVIAL_SSIM
    assert found["ssim"]["mean"] > found["ssim_floor"] + 0.2


def test_the_undefended_cut_leaks(a1):
    """Preset none is there to be broken: most of the photos' variance comes back."""
    assert a1("none")["skill"]["mean"] > 0.4


def recovered(found):
    """Whether a reconstruction shows more than the answer tells, by the audit's own goals and by its interval."""
    return found["skill"]["low"] > goals.MAX_SKILL or found["ssim_gain"]["low"] > goals.MAX_SSIM_GAIN


def test_photos_are_not_recovered_from_private_and_are_from_none(bench, a1):
    """The very attacks and the very limits that let `private` pass must not let the undefended cut pass.

    There a third of the attacker's photos is enough, and takes a third of the time.
    """
    assert not recovered(a1("private"))
    assert not recovered(reconstruction.a3(bench, "private", 300))
    assert recovered(a1("none"))
    assert recovered(reconstruction.a3(bench, "none", 100))


def test_compact_gives_the_picture_away(a1):
    """It promises nothing, warns, and this is why: less than the undefended cut, and much."""
    found, undefended = a1("compact"), a1("none")
    assert recovered(found)
    assert found["skill"]["mean"] < undefended["skill"]["mean"]


def test_no_attack_beats_its_certified_bound(bench):
    """A6 under the noise of ε = 4, where the bound is a fraction of what the levels alone would give away."""
    spec = bench.exposed["private"].preset.spec.with_epsilon(4.0)
    quiet = replace(bench.exposed["private"], preset=replace(bench.exposed["private"].preset, spec=spec))
    stricter = replace(bench, exposed=bench.exposed | {"private": quiet})
    found = identification.a6(stricter, "private", 100, 1)
    assert found["certified_bound"] < 0.02
    assert found["top1"]["low"] <= found["certified_bound"]
    loud = replace(quiet, preset=replace(quiet.preset, spec=replace(spec, sigma_per_clip=0.0)))
    unprotected = identification.a6(replace(bench, exposed=bench.exposed | {"private": loud}), "private", 100, 1)
    assert unprotected["top1"]["low"] > found["certified_bound"], "without its noise the bound is broken"


def test_the_shipped_noise_holds_a_bound_that_none_breaks(bench):
    """One photo of each level that occurs is the hardest gallery; the bound for it lies below certainty."""
    exposed = bench.exposed["private"]
    _, first = np.unique(exposed.victims, return_index=True)
    gallery = exposed.victims[first]
    surface = exposed.surface
    observed = np.concatenate([surface.observe(gallery, seed=seed) for seed in range(400)])
    picks = floors.nearest_index(gallery, observed)
    rate = float(np.mean(picks == np.tile(np.arange(len(gallery)), 400)))
    bound = exposed.preset.spec.loss.identification_bound(len(gallery))
    error = 3 * np.sqrt(0.03 / len(observed))
    assert rate <= bound + error
    if len(gallery) == 6:
        assert bound < 0.98
        assert rate >= bound - error


def test_the_shipped_preset_is_certified():
    """At most six times a guess, from one release and from any number of them, whatever the attack."""
    spec = Bundle.load().preset("private").spec
    assert spec.repeated(1).identification_bound(1000) <= 5.85e-3
    for releases in (4, 64, 10**6):
        assert 5.85e-3 < spec.repeated(releases).identification_bound(1000) <= 6.001e-3


def test_a_lot_of_noise_leaves_nothing(bench):
    """At ε = 1 the best of A1 and A3 is no better than the class mean, and A6 no better than guessing by label."""
    spec = bench.exposed["private"].preset.spec.with_epsilon(1.0)
    exposed = replace(bench.exposed["private"], preset=replace(bench.exposed["private"].preset, spec=spec))
    quiet = replace(bench, exposed={"private": exposed})
    assert reconstruction.a1(quiet, "private")["skill"]["mean"] < 0.05
    assert reconstruction.a3(quiet, "private", 300)["skill"]["mean"] < 0.05
    found = identification.a6(quiet, "private", 100, 1)
    assert found["top1"]["low"] <= max(found["certified_bound"], found["label_only"]["high"])


def test_same_photo_same_release(bench):
    found = identification.summary(bench, "private")
    assert found["distinct_releases_of_64"] == 1
    assert found["request_bytes"] <= goals.MAX_REQUEST_BYTES
    assert found["defence_ms"] <= goals.MAX_DEFENCE_MS


@pytest.mark.real_data
@pytest.mark.parametrize("bench", ["real"], indirect=True)
def test_accuracy_is_what_the_manifest_says(bench):
    """On lesions that the network never saw, through the deployed halves and the exact noise."""
    for preset in ("none", "compact", "private"):
        measured = identification.auc(bench, bench.exposed[preset])
        claimed = bench.bundle.presets[preset].quality["test"]["auc"]
        assert measured["low"] <= claimed <= measured["high"], preset


def test_accuracy_holds():
    """Preset private loses at most one point of AUC against the undefended network; a bundle that misses it says so."""
    quality = {name: preset.quality["test"]["auc"] for name, preset in Bundle.load().presets.items()}
    loss = quality["none"] - quality["private"]
    assert loss <= 2.5 * goals.MAX_AUC_LOSS, "private is of no use"
    if loss > goals.MAX_AUC_LOSS:
        pytest.xfail(f"goal missed: by its own manifest the default bundle's private preset loses {loss:.4f} of AUC")


def test_the_white_box_is_the_deployed_head(bench):
    """The head with gradients computes what the device computes."""
    pytest.importorskip("tensorflow", reason="A2 and A4 need securesplit[train]")
    from securesplit.audit.attacks.whitebox import WhiteBox

    pixels = bench.collection.victims.pixels[:3]
    box, device = WhiteBox(bench.head), bench.bundle.open_head()
    rebuilt = box(pixels.astype(np.float32))
    for preset in bench.bundle.presets:
        expected = np.stack([device(photo)[preset] for photo in pixels])
        assert np.abs(rebuilt[preset].numpy() - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    assert np.abs(rebuilt["stem"].numpy() - graph.stem_maps(bench.head, pixels)).max() < 1e-3


def test_optimisation_lowers_its_loss(bench):
    """A2 finds photos whose undefended cut is nearer to the one that was seen than the mean photo's is."""
    pytest.importorskip("tensorflow", reason="A2 and A4 need securesplit[train]")
    from securesplit.audit.attacks.optimise import Search, Searcher
    from securesplit.audit.attacks.whitebox import WhiteBox

    box = WhiteBox(bench.head)
    exposed, known = bench.exposed["none"], bench.known("none")
    seen = exposed.victims[:2]
    searcher = Searcher(box, exposed.surface, known, Search(steps=40))
    found = searcher.find(seen)
    rebuilt = found.photos
    assert rebuilt.shape == (2, 64, 64, 3)
    assert found.steps == 40
    tried = 10 * len(Search().first_rates)
    again = searcher.find(seen, more=iter([True] * (tried + 10) + [False]).__next__)
    assert again.steps == 10  # no time for more
    assert again.loss > found.loss

    def distance(images):
        import tensorflow as tf

        embedded = box(tf.image.resize(images, (box.side, box.side)) * 255.0)["none"].numpy()
        return float(((embedded - seen) ** 2).sum())

    assert distance(rebuilt) < 0.7 * distance(np.repeat(known.photos.mean(0, keepdims=True), 2, axis=0))


def test_refinement_starts_from_the_decoder(bench):
    """A4 on a noisy preset, a few steps: the whole chain of decoder, prior and gradients."""
    pytest.importorskip("tensorflow", reason="A2 and A4 need securesplit[train]")
    short = replace(bench, effort=replace(bench.effort, search_photos_few=2, search_steps=5, decoder_updates=40))
    found = reconstruction.a4(short, "private")
    assert (found["attack"], found["photos"], found["steps"]) == ("A4", 2, 5)
    assert found["skill"]["mean"] > -1
    assert "cut_short" not in found


def test_a_search_without_time_says_so(bench):
    pytest.importorskip("tensorflow", reason="A2 and A4 need securesplit[train]")
    short = replace(bench, effort=replace(bench.effort, search_photos_few=2, search_steps=5))
    found = reconstruction.a2(short, "private", Allowance(0.0))
    assert found["steps"] == 0
    assert found["cut_short"] == "after 0 s"


def test_the_accuracy_that_is_lost_is_measured_photo_by_photo(bench):
    """Against the undefended preset, whether that is attacked or not; it loses nothing against itself."""
    assert identification.auc_lost(bench, bench.exposed["none"]) in (None, {"mean": 0.0, "low": 0.0, "high": 0.0})
    lost = identification.auc_lost(bench, bench.exposed["private"])
    if bench.collection.victims.malignant is None:
        assert lost is None
    else:
        apart = identification.auc(bench, bench.exposed["none"])["mean"]
        apart -= identification.auc(bench, bench.exposed["private"])["mean"]
        assert lost["mean"] == pytest.approx(apart, abs=2e-4)
        assert lost["low"] < lost["mean"] < lost["high"]


def test_sides_share_no_lesion(bench):
    assert not set(bench.collection.own.lesions) & set(bench.collection.victims.lesions)


def test_goals_are_judged_by_the_strongest():
    results = [
        {"kind": "reconstruction", "preset": "p", "attack": a, "skill": {"mean": s}, "ssim_gain": {"mean": s}}
        for a, s in (("A0", 0.9), ("A1", 0.01), ("A3", 0.2), ("A5", 0.8))
    ]
    assert goals.best(results, "skill")["attack"] == "A3"
    stem = {"kind": "control", "attack": "A1", "ssim": {"mean": 0.95}}
    judged = {g.claim: g for g in goals.judge({"presets": ["p"], "results": [stem, *results]})}
    assert judged["best MSE skill over the class mean (A3)"].met is False
    assert judged["positive control: SSIM at the undefended stem (A1)"].met is True


def test_too_few_photos_are_explained(tmp_path):
    from securesplit.errors import ConfigError

    with pytest.raises(ConfigError, match="only 0 photos"):
        photos.load(tmp_path, 32, own=50, victims=50)


def attribute(low, mean, high):
    excess = {"mean": mean, "low": low, "high": high}
    rates = {"release": {"mean": 0.6 + mean}, "label_only": {"mean": 0.6, "high": 0.9}, "excess": excess}
    return {"kind": "attribute", "preset": "p", "attack": "A8", "attribute": "age", **rates}


@pytest.mark.parametrize(
    ("found", "met", "word"),
    [
        (attribute(0.01, 0.02, 0.04), True, "passed"),
        (attribute(0.06, 0.10, 0.14), False, "failed"),
        (attribute(-0.1, 0.02, 0.14), None, "not run: too few photos"),
    ],
)
def test_an_attribute_is_judged_by_the_paired_difference(found, met, word):
    """A floor with a wide interval, as few photos give it, makes nothing easier."""
    goal = next(g for g in goals.judge({"presets": ["p"], "results": [found]}) if "A8" in g.claim)
    assert goal.met is met
    assert goals.word(goal.to_json()) == word


@pytest.mark.parametrize(("bound", "judged"), [(0.00584, False), (0.006, False), (0.0101, True)])
def test_a_goal_that_arithmetic_meets_is_not_judged(bound, judged):
    """3 × label-only is 6 / N: a release that is certified for less cannot miss it."""
    rate = {"mean": 0.002, "low": 0.0019, "high": 0.0021}
    found = {"kind": "identification", "preset": "p", "attack": "A6", "candidates": 1000, "releases": 1}
    found |= {"top1": rate, "assigned": rate, "label_only": rate, "excess": rate, "certified_bound": bound}
    claims = [goal.claim for goal in goals.judge({"presets": ["p"], "results": [found]})]
    assert ("A6 top-1 of 1000, 3 × label-only" in claims) == judged
    assert "A6 top-1 of 1000 from 1 release, certified bound" in claims
