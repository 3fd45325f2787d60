"""The study of ways against the source shortcut: each does what its paper says, and a study that stopped goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
import tensorflow as tf

from securesplit.errors import ConfigError
from tests.training import tiny
from tests.training.drawn_photos import HAM, draw_collection, write_source
from training.data.dataset import Dataset, centre_square
from training.data.photo import DataError, Photo
from training.network.config import Config, named
from training.network.model import build_model
from training.studies import paired
from training.studies.source_shortcut import __main__ as study
from training.studies.source_shortcut import ways
from training.studies.source_shortcut.ways import BASE, SOURCE, WAYS, GroupRobust, Learner, MixStyle, SourceAdversary

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(0)
GROUPS = np.array([[60, 20], [5, 15]])
CONFIG = Config("tiny", side=48, outputs="auxiliary", batch_norm="frozen", dropout=0.0)
SETTINGS = ("backbone=tiny", "side=48", "freeze=stem", "batch=2", "epochs=1", "learning_rate=1e-3", "ema=0")
HELD = "komour,phone/1"


def learner(kind: type[Learner]) -> Any:
    assert tiny.build
    made = kind(build_model(CONFIG), "stem", CONFIG, GROUPS, 10)
    made.compile(keras.optimizers.Adam(1e-2))
    return made


def batch_of(malignant: list[int], source: list[int]) -> dict[str, Any]:
    one_hot = np.eye(len(GROUPS), dtype=np.float32)[source]
    return {"malignant": tf.constant(malignant, tf.float32)[:, None], SOURCE: tf.constant(one_hot)}


def frames(count: int) -> Any:
    return RNG.integers(20, 200, (count, 12, 16, 3), dtype=np.uint8)


def test_colours_go_half_of_the_way_to_the_reference() -> None:
    pixels, reference = frames(300), np.array([90.0, 100.0, 110.0], np.float32)
    before, after = (centre_square(p).mean((1, 2)) for p in (pixels, ways.channel_means(pixels, reference)))
    np.testing.assert_allclose(after, np.sqrt(before * reference), rtol=0.01)
    assert ways.channel_means(np.zeros_like(pixels), reference).max() == 0


def test_shades_of_grey_take_a_cast_away() -> None:
    pixels, nothing = frames(3) // 2, np.zeros(3, np.float32)
    cast = np.round(pixels * np.array([1.5, 1.0, 0.75])).astype(np.uint8)
    light = (centre_square(ways.shades_of_grey(cast, nothing)).astype(float) ** 6).mean((1, 2)) ** (1 / 6)
    assert np.ptp(light, axis=1).max() < 1.0
    assert ways.shades_of_grey(np.zeros_like(pixels), nothing).max() == 0


def test_the_study_s_network_is_the_one_it_was_given() -> None:
    network = build_model(CONFIG)
    photos = RNG.uniform(0, 255, (3, 48, 48, 3)).astype(np.float32)
    answers = Learner(network, "stem", CONFIG, GROUPS, 10)(photos)
    for name, expected in network([photos]).items():
        np.testing.assert_allclose(answers[name], expected, rtol=1e-5, atol=1e-6)


def test_mixstyle_blends_the_statistics_of_two_photos_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixing, changed = learner(MixStyle), 0
    monkeypatch.setattr(ways, "beta", lambda shape, *_: tf.fill(shape, 0.5))
    deviation, mean = np.array([1.0, 1, 1, 9], np.float32), np.array([0.0, 0, 0, 4], np.float32)
    shape = RNG.normal(0, 1, (4, 6, 6, 3))
    shape = (shape - shape.mean((1, 2), keepdims=True)) / shape.std((1, 2), keepdims=True)
    maps = (shape * deviation[:, None, None, None] + mean[:, None, None, None]).astype(np.float32)
    for _ in range(80):
        blended = np.asarray(mixing.blended(tf.constant(maps)))
        means, deviations = (of(blended, (1, 2), keepdims=True) for of in (np.mean, np.std))
        np.testing.assert_allclose((blended - means) / deviations, shape, atol=1e-3)
        loud_met_another = bool(np.isclose(deviations[3], 5, atol=1e-2).all())
        expected = ([0, 0, 2, 2], [1, 1, 5, 5]) if loud_met_another else ([0, 0, 0, 4], [1, 1, 1, 9])
        for found, wanted in zip((means, deviations), expected, strict=True):
            np.testing.assert_allclose(np.sort(found.mean((1, 2, 3))), wanted, atol=1e-2)
        changed += loud_met_another
    assert 15 < changed < 45, "three of four photos meet another, in half of the batches"


def test_the_group_that_loses_most_weighs_more_and_more() -> None:
    robust = learner(GroupRobust)
    targets = batch_of([0, 1, 0, 1], [0, 0, 1, 1])
    before = robust.weight.numpy()
    np.testing.assert_allclose(before, 0.25)
    losses = tf.constant([0.1, 0.1, 3.0, 0.1])
    for _ in range(20):
        total = float(robust.objective(losses, targets, None))
    after = robust.weight.numpy()
    assert after.sum() == pytest.approx(1, abs=1e-5)
    assert after.argmax() == 2
    assert after[2] / after[0] == pytest.approx(np.exp(20 * GroupRobust.STEP * 2.9), rel=1e-3)
    assert total == pytest.approx(
        float((3 * min(after[2] / 0.05, 8) + 0.1 * (after[[0, 1, 3]] / [0.6, 0.2, 0.15]).sum()) / 4)
    )


def test_groups_that_no_batch_shows_keep_their_weight() -> None:
    robust = learner(GroupRobust)
    robust.objective(tf.constant([1.0, 1.0]), batch_of([0, 1], [0, 0]), None)
    weight = robust.weight.numpy()
    assert weight[2] == weight[3] < weight[0] == weight[1]


def test_what_the_adversary_learns_does_not_teach_the_features_and_the_other_way_round() -> None:
    fought = learner(SourceAdversary)
    targets, features = batch_of([0, 1, 0, 1], [0, 1, 1, 0]), tf.Variable(RNG.normal(0, 1, (4, 16)).astype(np.float32))
    own = [v.value for adversary in fought.adversaries for v in adversary.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        told, tells = fought.answers_of_adversaries(targets, features)
    assert tape.gradient(told, features) is None
    assert all(slope is None for slope in tape.gradient(tells, own))
    assert all(slope is not None for slope in tape.gradient(told, own))
    assert tape.gradient(tells, features) is not None


def test_features_that_told_the_source_are_taught_to_leave_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    fought = learner(SourceAdversary)
    source = np.arange(64) % 2
    malignant = np.arange(64) // 2 % 2
    place = source[:, None] * 2.0 - 1
    raw = np.concatenate([place, RNG.normal(0, 1, (64, 15))], 1).astype(np.float32)
    targets = batch_of(malignant.tolist(), source.tolist())
    monkeypatch.setattr(SourceAdversary, "EPOCHS", 30)
    fought.teach(raw, {name: np.asarray(values) for name, values in targets.items()})
    features = tf.Variable(raw)
    before, _ = fought.answers_of_adversaries(targets, features)
    for _ in range(40):
        with tf.GradientTape() as tape:
            _, tells = fought.answers_of_adversaries(targets, features)
        features.assign_sub(20.0 * tape.gradient(tells, features))
    after, _ = fought.answers_of_adversaries(targets, features)
    assert float(before) < 0.75 * float(after)


def test_a_photo_s_source_is_counted_without_its_fold() -> None:
    names = ["ham10000", "phone/0", "phone/3", "ham10000"]
    photos = [Photo(Path(f"{i}"), malignant=i == 1, lesion=str(i), source=name) for i, name in enumerate(names)]
    split = study.Split(tuple(photos), np.zeros((4, 3, 4, 3), np.uint8))
    one_hot, counts = study.sources(split)
    assert one_hot.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]
    assert counts.tolist() == [[2, 0], [1, 1]]


def test_a_gain_is_the_mean_over_trainings_of_the_same_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "DRAWS", 20)
    photos = [Photo(Path(f"{i}"), malignant=i < 20, lesion=str(i)) for i in range(60)]
    right = np.array([p.malignant for p in photos], np.float32)
    other = [Photo(Path(f"o{i}"), malignant=i < 5, lesion=f"o{i}") for i in range(10)]
    level = np.zeros(10, np.float32)
    alone = paired.compared([(photos, right, 1 - right)])
    assert (alone["auc"].value, alone["gain"].value, alone["gain"].low) == (1, 1, 1)
    both = paired.compared([(photos, right, 1 - right), (other, level, level)])
    assert (both["auc"].value, both["gain"].value) == (0.75, 0.5)
    assert paired.compared([(photos, right, right)])["gain"].high == 0


def test_premalignant_photos_do_not_count() -> None:
    photos = [
        Photo(Path(f"{i}"), malignant=True, lesion="", source="phone/1", is_premalignant=i == 1) for i in range(3)
    ]
    found, own, _ = paired.of_source("phone", photos, np.arange(3), np.arange(3))
    assert [photo.path.name for photo in found] == ["0", "2"]
    assert own.tolist() == [0, 2]


def begun(folder: Path) -> tuple[Config, Dataset, Path]:
    draw_collection(folder / "data")
    config = named("collection", [*study.SETTINGS, *SETTINGS])
    start = folder / "start.weights.h5"
    build_model(config).save_weights(str(start))
    return config, Dataset.read(folder / "data", folder / "pixels"), start


def test_every_way_is_trained_once_and_stands_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "DRAWS", 5)
    config, data, start = begun(tmp_path)
    out = tmp_path / "out"
    first = study.study(config, data, start, out, hold_out=[HELD], seeds=1, ways=WAYS[:2])
    kept = json.loads((out / study.FILE).read_text())["trainings"]
    begun_now, trained = [], study.trained
    monkeypatch.setattr(study, "trained", lambda way, *given: (begun_now.append(way), trained(way, *given))[1])
    compared, cells = paired.compared, []
    monkeypatch.setattr(paired, "compared", lambda pairs: (cells.append(pairs), compared(pairs))[1])
    content = study.study(config, data, start, out, hold_out=[HELD], seeds=1, ways=WAYS)
    assert len(cells) == 3 * len(WAYS), "a row of three sources a way, once"
    assert begun_now == list(WAYS[2:]), "what was trained is not trained again"
    assert len(content["trainings"]) == len(WAYS)
    assert len(first["trainings"]) == 2
    assert all(content["trainings"][name] == known for name, known in kept.items())
    assert set(content["table"]) == {way.name for way in WAYS}
    assert set(content["table"][BASE.name]) == {"ham10000", "komour", "phone"}
    assert all(figures["gain"].value == 0 for figures in content["table"][BASE.name].values())
    assert "source_loss" in content["trainings"][study.Training("adversary", HELD, 1).name]
    lines = (out / "source_shortcut.md").read_text().splitlines()
    assert lines[0] == "| way | ham10000 | komour | phone | trainings |"
    assert [line.split(" (")[0] for line in lines[2:]] == [f"| {way.title}" for way in WAYS]
    start.write_bytes(start.read_bytes() + b" ")
    with pytest.raises(ConfigError, match="another configuration or start"):
        study.study(config, data, start, out, hold_out=[HELD], seeds=1, ways=WAYS)


def test_a_training_that_diverges_is_noted_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the way itself that diverges: the first one comes to its end."""
    monkeypatch.setattr(paired, "DRAWS", 5)
    config, data, start = begun(tmp_path)
    wild = replace(WAYS[1], settings={**WAYS[1].settings, "learning_rate": 1e30})
    out, given = tmp_path / "out", {"hold_out": [HELD], "seeds": 1, "ways": [wild, BASE]}
    content = study.study(config, data, start, out, **given)
    noted = content["trainings"][study.Training(wild.name, HELD, 1).name]
    assert noted == {"way": wild.name, "hold_out": HELD, "seed": 1, "diverged": True}
    assert set(content["table"]) == {BASE.name}
    rows = study.markdown(content).splitlines()[2:]
    assert [row.split(" | ")[-1] for row in rows] == ["1 |", "1, 1 diverged |"]
    monkeypatch.setattr(study, "trained", None)  # nothing is trained again
    assert study.study(config, data, start, out, **given)["trainings"] == content["trainings"]


def test_what_cannot_be_studied_is_said(tmp_path: Path) -> None:
    config, data, start = begun(tmp_path)

    def refused(kind: type[Exception], message: str, of: Config = config, **changed: Any) -> None:
        given = {"data": data, "start": start, "hold_out": [HELD], **changed}
        with pytest.raises(kind, match=message):
            study.study(of, out=tmp_path / "out", seeds=1, ways=WAYS[:1], **given)

    refused(ConfigError, "all photos", named("collection", [*SETTINGS, "photos=3"]))
    refused(ConfigError, "no weights in", start=tmp_path / "none.h5")
    refused(DataError, "no training photo is of nowhere", hold_out=["nowhere"])
    other = tmp_path / "other.weights.h5"
    other.write_bytes(b"no weights")
    refused(ConfigError, "does not fit", start=other)
    write_source(
        tmp_path / "plain", "one", HAM, [f"I{x},{x},x,nv,L{x},G{x},histo,50,female,back" for x in ("train", "val")]
    )
    refused(DataError, "no training photo is of", data=Dataset.read(tmp_path / "plain" / "one", tmp_path / "pixels"))
