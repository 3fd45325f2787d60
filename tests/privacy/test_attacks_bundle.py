"""The shipped bundle under attack: on lesions drawn here, and on real photos where they are at hand."""

from dataclasses import replace

import numpy as np
import pytest

from securesplit.audit import control, goals, photos, rebuilding, recognition, suite
from securesplit.audit.effort import FULL, QUICK
from securesplit.audit.pace import Allowance
from securesplit.model import Bundle
from securesplit.privacy.attacks import graph
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


def test_positive_control(bench):
    """The same code recovers the photos from the undefended stem; else nothing here means anything."""
    found = control.by_ridge(bench)
    assert found["ssim"]["mean"] >= TRIVIAL_SSIM
    assert found["ssim"]["mean"] > found["ssim_floor"]


def test_positive_control_of_the_search(bench):
    """The very search of A2 and A4 does too, in as many steps as the full audit gives it."""
    pytest.importorskip("tensorflow", reason="A2 and A4 need securesplit[train]")
    found = control.by_search(replace(bench, effort=replace(bench.effort, search_steps=FULL.search_steps)))
    assert found["ssim"]["mean"] >= TRIVIAL_SSIM
    assert found["ssim"]["mean"] > found["ssim_floor"] + 0.2


def test_the_undefended_cut_leaks(bench):
    """Preset none is there to be broken: most of the photos' variance comes back."""
    found = rebuilding.a1(bench, "none")
    assert found["skill"]["mean"] > 0.4


@pytest.mark.parametrize("preset", ["compact", "private"])
def test_photos_are_not_trivially_recovered(bench, preset):
    by_ridge = rebuilding.a1(bench, preset)
    by_decoder = rebuilding.a3(bench, preset, 300)
    undefended = rebuilding.a1(bench, "none")
    for found in (by_ridge, by_decoder):
        assert found["ssim"]["mean"] < TRIVIAL_SSIM
        assert found["skill"]["mean"] < undefended["skill"]["mean"]


def test_no_attack_beats_its_certified_bound(bench):
    """A6 at every number of candidates and of releases that the audit tries."""
    compared = 0
    for releases in (1, 4, 16, 64):
        for candidates in (10, 100):
            found = recognition.a6(bench, "private", candidates, releases)
            assert found["top1"]["low"] <= found["certified_bound"]
            compared += found["certified_bound"] < 1
    spec = bench.exposed["private"].preset.spec.with_epsilon(4.0)
    quiet = replace(bench.exposed["private"], preset=replace(bench.exposed["private"].preset, spec=spec))
    stricter = replace(bench, exposed=bench.exposed | {"private": quiet})
    found = recognition.a6(stricter, "private", 100, 1)
    assert found["certified_bound"] < 0.02
    assert found["top1"]["low"] <= found["certified_bound"]
    assert compared == 8


def test_the_shipped_preset_is_certified():
    """At most seven times a guess, from one release and from any number of them, whatever the attack."""
    spec = Bundle.load().preset("private").spec
    for releases in (1, 4, 64, 10**6):
        assert spec.repeated(releases).identification_bound(1000) <= 7.001e-3


def test_a_lot_of_noise_leaves_nothing(bench):
    """At ε = 1 the best of A1 and A3 is no better than the class mean, and A6 no better than guessing by label."""
    spec = bench.exposed["private"].preset.spec.with_epsilon(1.0)
    exposed = replace(bench.exposed["private"], preset=replace(bench.exposed["private"].preset, spec=spec))
    quiet = replace(bench, exposed={"private": exposed})
    assert rebuilding.a1(quiet, "private")["skill"]["mean"] < 0.05
    assert rebuilding.a3(quiet, "private", 300)["skill"]["mean"] < 0.05
    found = recognition.a6(quiet, "private", 100, 1)
    assert found["top1"]["low"] <= max(found["certified_bound"], found["label_only"]["high"])


def test_same_photo_same_release(bench):
    found = recognition.summary(bench, "private")
    assert found["distinct_releases_of_64"] == 1
    assert found["request_bytes"] <= goals.MAX_REQUEST_BYTES
    assert found["defence_ms"] <= goals.MAX_DEFENCE_MS


@pytest.mark.real_data
@pytest.mark.parametrize("bench", ["real"], indirect=True)
def test_accuracy_is_what_the_manifest_says(bench):
    """On lesions that the network never saw, through the deployed halves and the exact noise."""
    for preset in ("none", "compact", "private"):
        measured = recognition.auc(bench, bench.exposed[preset])
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
    from securesplit.privacy.attacks.whitebox import WhiteBox

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
    from securesplit.privacy.attacks.optimise import Search, Searcher
    from securesplit.privacy.attacks.whitebox import WhiteBox

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
    found = rebuilding.a4(short, "private")
    assert (found["attack"], found["photos"], found["steps"]) == ("A4", 2, 5)
    assert found["skill"]["mean"] > -1
    assert "cut_short" not in found


def test_a_search_without_time_says_so(bench):
    pytest.importorskip("tensorflow", reason="A2 and A4 need securesplit[train]")
    short = replace(bench, effort=replace(bench.effort, search_photos_few=2, search_steps=5))
    found = rebuilding.a2(short, "private", Allowance(0.0))
    assert found["steps"] == 0
    assert found["cut_short"] == "after 0 s"


def test_the_accuracy_that_is_lost_is_measured_photo_by_photo(bench):
    """Against the undefended preset, whether that is attacked or not; it loses nothing against itself."""
    assert recognition.auc_lost(bench, bench.exposed["none"]) in (None, {"mean": 0.0, "low": 0.0, "high": 0.0})
    lost = recognition.auc_lost(bench, bench.exposed["private"])
    if bench.collection.victims.malignant is None:
        assert lost is None
    else:
        apart = recognition.auc(bench, bench.exposed["none"])["mean"]
        apart -= recognition.auc(bench, bench.exposed["private"])["mean"]
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
