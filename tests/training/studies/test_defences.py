"""The study of published defences: each term presses what its paper says, and a run goes on where it stopped."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
import tensorflow as tf

from securesplit.errors import ConfigError
from tests.conftest import REPO
from training.data.dataset import Split
from training.data.photo import Photo
from training.release.guarded.attack import Holdings
from training.release.guarded.views import CutViews
from training.studies.defences import __main__ as study
from training.studies.defences import cem
from training.studies.defences.adversarial import DECODER, AgainstDecoder
from training.studies.defences.defence import Defence
from training.studies.defences.disco import PruneChannels
from training.studies.defences.measure import Setting, attackers
from training.studies.defences.nopeek import TERM, NoPeek
from training.studies.defences.registry import DEFENCES
from training.studies.defences.table import markdown

RNG = np.random.default_rng(0)
SIZES = ((10, 10, 4), 5, 2)
"""Cut, size and channels of a release."""


def _batch(thumbs):
    count = len(thumbs)
    labels = np.arange(count) % 2
    means = np.stack([thumbs[labels == c].mean(0) for c in (0, 1)])
    maps = RNG.normal(0, 1, (count, *SIZES[0])).astype(np.float32)
    return {"maps": maps, "thumbs": thumbs, "labels": labels.astype(np.int32), "class_means": means[labels]}


def test_the_published_table_is_that_of_its_figures():
    figures = json.loads((REPO / "docs" / "defences.json").read_text(encoding="utf-8"))
    assert [d.name for d in DEFENCES] == list(figures["runs"])
    assert markdown(figures, DEFENCES) in (REPO / "docs" / "defences.md").read_text(encoding="utf-8")


def test_what_the_answer_alone_tells_stands_above_the_table():
    def told(best: float):
        return {"tone": {"beyond": 0.1, "low": 0.0, "high": 0.2}, "size": {"beyond": best, "low": 0.0, "high": 1.0}}

    figures = json.loads((REPO / "docs" / "defences.json").read_text(encoding="utf-8"))
    run = figures["runs"]["noise"]["1"]
    for best, name in ((0.05, "tone +0.100 (+0.000 to +0.200)"), (0.5, "size +0.500 (+0.000 to +1.000)")):
        runs = {"noise": {"1": {**run, "undefended_answer_beyond_label": told(best)}}}
        head = markdown({**figures, "runs": runs}, DEFENCES).split("\n\n")[0]
        assert f"answer alone tells {name} beyond the label." in " ".join(head.split("\n"))
        assert max(map(len, head.split("\n"))) <= 120


def test_photos_of_which_none_shows_the_lesion_of_another_leave_that_figure_out():
    figures = json.loads((REPO / "docs" / "defences.json").read_text(encoding="utf-8"))
    whole = figures["runs"]["noise"]["1"]
    runs = {"noise": {"1": {**whole, "linked_auc": None}}}
    of_one = markdown({**figures, "runs": {"noise": {"1": whole}}}, DEFENCES)
    assert markdown({**figures, "runs": runs}, DEFENCES) == of_one.replace(f"{whole['linked_auc']:.3f}", "–", 1)


def test_nopeek_presses_what_the_release_has_in_common_with_the_picture():
    stage = NoPeek(*SIZES, sigma=0.3, steps=1)
    light = RNG.random((64, 1, 1, 1)).astype(np.float32)
    sent, pictures = np.tile(light, (1, 5, 5, 2)), np.tile(light, (1, 32, 32, 3))
    same, other = (stage.ratios(_batch(shown), sent) for shown in (pictures, RNG.permutation(pictures)))
    assert float(same[TERM]) == pytest.approx(1, abs=1e-3)
    assert float(other[TERM]) < 0.5
    assert float(stage.penalty({}, sent, same)) == float(same[TERM])


def test_the_adversarial_term_is_the_similarity_of_what_the_decoder_draws():
    stage = AgainstDecoder(*SIZES, sigma=0.3, steps=1)
    batch = _batch(RNG.random((8, 32, 32, 3)).astype(np.float32))
    sent = tf.zeros((8, 5, 5, 2))
    ratios = stage.ratios(batch, sent)
    last = stage.adversaries[DECODER].layers[-1]
    last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
    of_means = stage.penalty(batch, sent, ratios)
    assert float(stage.ratios(batch, sent)[DECODER]) == pytest.approx(1, abs=1e-3)
    told = {**batch, "class_means": batch["thumbs"]}
    assert float(stage.penalty(told, sent, ratios)) == pytest.approx(1, abs=1e-3)
    assert float(of_means) < 0.9


def test_cem_presses_spread_within_a_cluster_down_to_the_noise():
    stage = cem.ConditionalEntropy(*SIZES, sigma=0.3, steps=1)
    centres = RNG.uniform(-1, 1, (2, cem.CLUSTERS, 50)).astype(np.float32)
    stage.centroids.assign(centres)
    stage.shares.assign(np.full((2, cem.CLUSTERS), 1 / cem.CLUSTERS, np.float32))
    stage.counts.assign(np.full((2, cem.CLUSTERS), 4, np.float32))
    rows = np.repeat(centres.reshape(-1, 50), 4, axis=0)
    labels = np.repeat([0, 1], 4 * cem.CLUSTERS).astype(np.int32)

    def term(spread):
        stage.encoder = lambda maps, training: tf.constant(rows + spread * RNG.normal(0, 1, rows.shape), tf.float32)
        found = stage.ratios({"maps": rows, "labels": labels}, np.zeros((len(rows), 5, 5, 2), np.float32))
        return float(found["entropy"])

    assert term(0.05) == 0
    assert 0 < term(0.2) < term(0.4)


def test_clusters_are_those_of_the_releases():
    centres = RNG.uniform(-1, 1, (cem.CLUSTERS, 50))
    releases = np.repeat(centres, [10, 20, 30, 40, 50], axis=0) + RNG.normal(0, 0.01, (150, 50))
    centroids, variances, shares, counts = cem.clusters_of(releases, centres.astype(np.float32), 1)
    distances = np.square(centroids[:, None] - centres[None]).mean(2)
    assert distances.min(1).max() < 1e-4
    assert sorted(counts) == [10, 20, 30, 40, 50]
    assert shares == pytest.approx(counts / 150)
    assert variances == pytest.approx(np.full(cem.CLUSTERS, 1e-4), rel=0.2)
    few = cem.clusters_of(releases[:2], None, 1)
    assert few[2].tolist() == [0.5, 0.5, 0, 0, 0]


def test_pruning_sends_the_best_channels_and_lets_gradients_through():
    release, scores = tf.ones((2, 5, 5, 4)), tf.Variable([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    with tf.GradientTape() as tape:
        kept = PruneChannels(2)(release, scores)
        total = tf.reduce_sum(kept)
    assert kept.numpy()[:, 0, 0] == pytest.approx(np.array([[1, 1, 0, 0], [0, 0, 1, 1]]))
    assert (tape.gradient(total, scores).numpy() > 0).all()


def _setting(count: int) -> Setting:
    """Photos whose number stands in all that is known of them."""
    photos = tuple(Photo(Path(f"{i}.jpg"), bool(i % 2), f"lesion {i}", "nv", site="back") for i in range(count))
    numbers = np.arange(count)
    split = Split(photos, np.broadcast_to(numbers[:, None, None, None], (count, 8, 10, 3)).astype(np.uint8))
    views = CutViews(np.zeros((count, 1, 1, 1)), np.zeros((count, 32, 32, 3)), numbers % 2, numbers + 0.0, numbers)
    return Setting(None, views, views, {"train": split, "val": split})


def test_attackers_hold_a_sample_of_the_photos_and_not_the_first_ones():
    setting = _setting(200)
    own = Holdings(setting.train.maps, setting.train.thumbs, setting.train.lesions)
    (views, held), split = attackers(setting, own, 50)
    chosen = views.lesions.tolist()
    assert len({*chosen}) == 50
    assert np.mean(chosen) == pytest.approx(99.5, abs=25)
    assert views.logits.tolist() == held.labels.tolist() == split.pixels[:, 0, 0, 0].tolist() == chosen
    assert [photo.lesion for photo in split.photos] == [f"lesion {number}" for number in chosen]
    assert attackers(setting, own, 300)[0][0].lesions.tolist() == [*range(200)]


def test_a_study_of_other_photos_or_attacks_is_another_one(tmp_path: Path):
    setting = _setting(4)
    split, photos = setting.splits["train"], setting.splits["train"].photos
    args = study.arguments().parse_args(["--run", str(tmp_path)])
    file = tmp_path / study.FILE
    file.write_text(json.dumps(begun := study.started(setting, args)))
    moved = Split(tuple(replace(photo, path=Path("elsewhere") / photo.path) for photo in photos), split.pixels)
    assert study.started(replace(setting, splits={"train": moved, "val": split}), args) == begun
    listed = Split((replace(photos[0], site="hand"), *photos[1:]), split.pixels)
    seen = Split(photos, split.pixels + np.uint8(1))
    for train in (listed, seen):
        with pytest.raises(ConfigError, match="other settings"):
            study.started(replace(setting, splits={"train": train, "val": split}), args)
    del begun["methods"]  # of before they were compared
    file.write_text(json.dumps(begun))
    with pytest.raises(ConfigError, match="photos or attacks"):
        study.started(setting, args)


def test_a_defence_that_diverges_is_noted_and_the_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    args = study.arguments().parse_args(["--run", str(tmp_path), "--quick", "--defences", "noise", "disco"])
    vars(args).update(study.QUICK | {"cache": tmp_path, "batch": 4})
    figures = json.loads((REPO / "docs" / "defences.json").read_text(encoding="utf-8"))["runs"]["disco"]["1"]
    setting, real = _setting(8), study.measured
    unfit = replace(setting.train, maps=np.full((8, *SIZES[0]), np.nan, np.float32))
    network = keras.Sequential([keras.Input(SIZES[0]), keras.layers.Identity(name=args.cut)])
    diverging = replace(setting, network=network, train=unfit, val=unfit)

    def measured(defence: Defence, _: Setting, given: Namespace):
        return figures if defence.name == "disco" else real(defence, diverging, given)

    monkeypatch.setattr(study, "measured", measured)
    content = study.study(setting, args)
    assert content["runs"] == {"noise": {"1": None}, "disco": {"1": figures}}
    rows = (tmp_path / "defences.md").read_text(encoding="utf-8").splitlines()[-2:]
    assert [row.split(" | ")[-1] for row in rows] == ["1, 1 diverged |", "1 |"]
    assert "beyond the label" in (tmp_path / "defences.md").read_text(encoding="utf-8").split("\n\n")[0]
    nothing = {**content, "runs": {"noise": {"1": None}}}
    assert "its answer alone" not in markdown(nothing, DEFENCES)


@pytest.mark.slow
def test_a_study_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def args(*names: str, **changed: object):
        found = study.arguments().parse_args(["--run", str(tmp_path), "--quick", "--defences", *names])
        vars(found).update(study.QUICK | {"cache": tmp_path} | changed)
        return found

    setting = study.drawn_setting(args("noise"))
    first = study.study(setting, args("disco"))
    done = first["runs"]["disco"]["1"]
    assert done["request_bytes"] > 200
    assert 0 < done["device_share"] < 1
    assert set(done["probe_auc"]["lost"]) == {"mean", "low", "high"}
    table = (tmp_path / "defences.md").read_text(encoding="utf-8")
    assert [line.split(" |")[0] for line in table.splitlines() if line.startswith("| ")][2:] == [
        f"| {d.title} ({d.source})" for d in DEFENCES if d.name == "disco"
    ]
    monkeypatch.setattr(study, "measured", lambda defence, *_: {**done, "sigma": defence.name})
    again = study.study(setting, args("disco", "guarded"))
    assert again["runs"]["disco"]["1"] == json.loads(json.dumps(done))
    assert again["runs"]["guarded"]["1"]["sigma"] == "guarded"
    with pytest.raises(ConfigError):
        study.study(setting, args("disco", sigma=0.1))
