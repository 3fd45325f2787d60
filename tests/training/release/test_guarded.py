"""What the training of guarded measures and presses, on arrays small enough to check by hand, and a run of it."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
import tensorflow as tf
from PIL import Image
from skimage.metrics import structural_similarity

from securesplit.errors import ConfigError
from securesplit.imaging.synthetic import draw_lesion
from training.data import dataset
from training.data.dataset import Dataset
from training.data.photo import Photo
from training.evaluation import metrics
from training.release import cut_maps
from training.release.cache import secrets_of
from training.release.guarded import attack, exposure, joint, losses, parts, press, stages, weights
from training.release.guarded.__main__ import LATER, arguments, made_from
from training.release.guarded.attack import CANDIDATES, GALLERY, Holdings, retrieval, ridge_skill, skill
from training.release.guarded.checkpoint import BEGUN, JOINT, PRESS, TAIL, begin
from training.release.guarded.controller import Controller
from training.release.guarded.tail import copied
from training.release.guarded.views import Batches, CutViews
from training.studies import leakage_tables

RNG = np.random.default_rng(0)


def test_similarity_is_that_of_scikit_image():
    first, second = RNG.random((2, 32, 32)).astype(np.float32)
    wanted = structural_similarity(first, second, data_range=1.0)
    assert float(losses.ssim(first[None, ..., None], second[None, ..., None])) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("kind", ["dense", "luminance", "structure"])
def test_adversary_ratios_run_from_one_to_zero(kind):
    pictures, means = RNG.random((2, 4, 32, 32, 3)).astype(np.float32)
    rest = pictures - means
    rest = rest if kind == "dense" else np.asarray(losses.luminance(rest))
    assert float(losses.rebuilding_ratio(kind, np.zeros_like(rest), pictures, means)) == pytest.approx(1, abs=1e-3)
    assert float(losses.rebuilding_ratio(kind, rest, pictures, means)) == pytest.approx(0, abs=1e-3)


def test_lookalikes_are_linked_no_better_than_by_guessing():
    labels = np.array([0, 0, 0, 1, 1])
    alike, own = np.full((5, 8), 8**-0.5, np.float32), np.eye(8, dtype=np.float32)[:5]
    assert float(losses.linking_ratio(alike, alike, labels)) == pytest.approx(1, abs=1e-3)
    assert float(losses.linking_ratio(own, own, labels)) < 0.01


def test_an_adversary_below_its_baseline_gains_nothing():
    ratios = tf.Variable([0.5, 1.5])
    with tf.GradientTape() as tape:
        gain = losses.gain(ratios)
    assert float(gain) == pytest.approx(0.25)
    assert tape.gradient(gain, ratios).numpy() == pytest.approx([-0.5, 0])
    assert float(losses.gain(ratios, allowed=0.1)) == pytest.approx(0.2)


def test_the_secrets_of_a_picture_follow_skin_and_lesion():
    light, dark = np.full((2, 32, 32, 3), 0.8, np.float32)
    dark[8:-8, 8:-8] = [0.5, 0.2, 0.2]
    tone, contrast, redness, size = np.asarray(losses.secrets_of(np.stack([light, dark]))).T
    assert tone == pytest.approx([0.8, 0.8], abs=1e-3)
    assert contrast[1] > 0.4 > abs(contrast[0])
    assert redness == pytest.approx([0, 0.3], abs=1e-3)
    assert size[1] > size[0] + 0.15


def test_what_is_sent_lies_on_the_grid_and_lets_gradients_through():
    releases = tf.Variable(RNG.uniform(-1, 1, (4, 5, 5, 8)).astype(np.float32))
    with tf.GradientTape() as tape:
        sent = press.noised(releases, 0.3)
    assert sent.numpy() * losses.GRID == pytest.approx(np.rint(sent.numpy() * losses.GRID), abs=1e-4)
    assert (sent.numpy() - releases.numpy()).std() == pytest.approx(0.3, abs=0.02)
    assert tape.gradient(sent, releases).numpy() == pytest.approx(1)


def test_an_answer_costs_nothing_where_it_is_the_target():
    targets = np.array([0.0, 0.3, 1.0], np.float32)
    logits = np.array([-30, np.log(0.3 / 0.7), 30], np.float32)
    assert float(losses.divergence(logits, targets)) == pytest.approx(0, abs=1e-6)
    assert float(losses.divergence(np.zeros(3, np.float32), targets)) > 0.4


def test_the_terms_rise_only_while_the_answer_does_not_suffer():
    controller = Controller(learn=20, margin=0.1, most=2.0, rise=50, horizon=5)
    assert {controller.update(0.5) for _ in range(19)} == {0.0}
    pressed = [controller.update(0.5) for _ in range(100)]
    assert pressed == sorted(pressed)
    assert pressed[-1] == 2.0
    held = [controller.update(0.6) for _ in range(100)]  # at the margin: the strength stays
    assert held[-1] == pytest.approx(held[-50], abs=0.05)
    eased = [controller.update(0.65) for _ in range(40)]
    assert eased[-1] < held[-1] - 1
    assert controller.update(10.0) == 0.0  # the answer is lost: nothing but the task counts


def test_a_deeper_encoder_only_adds_to_the_plain_one():
    plain, deep = (parts.encoder((10, 10, 96), 5, 8, blocks) for blocks in (0, 3))
    assert plain.output_shape == deep.output_shape == (None, 5, 5, 8)
    shapes = [[weight.shape for weight in model.weights] for model in (plain, deep)]
    assert deep.count_params() > 2 * plain.count_params()
    assert all(shape in shapes[1] for shape in shapes[0])


@pytest.mark.parametrize("cut_shape", [(10, 10, 96), (19, 19, 48), (38, 38, 32)])
def test_a_map_of_each_cut_shrinks_to_the_release_and_grows_back(cut_shape: tuple[int, int, int]):
    assert parts.encoder(cut_shape, 5, 8).output_shape == (None, 5, 5, 8)
    assert parts.decoder(cut_shape, 5, 8).output_shape == (None, *cut_shape)


@pytest.mark.parametrize("cut_shape", [(11, 11, 8), (10, 9, 8), (3, 3, 8)])
def test_a_map_that_no_whole_stride_shrinks_is_refused(cut_shape: tuple[int, int, int]):
    for part in (parts.encoder, parts.decoder):
        with pytest.raises(ConfigError, match="by whole strides"):
            part(cut_shape, 5, 8)


def test_a_blend_lies_between_two_maps_and_has_the_undefended_answer(network: keras.Model, tmp_path: Path):
    _, second = stages.stages(network, _args(tmp_path))
    undefended = copied(second.tail)
    for weight in second.tail.trainable_variables:  # trained on since
        weight.assign(weight + 1)
    maps = RNG.random((6, 10, 10, 8)).astype(np.float32)
    blends, targets = (np.asarray(each) for each in joint.blended(tf.constant(maps), undefended))
    others = np.roll(maps, 1, axis=0)
    shares = (blends - others) / (maps - others)
    assert shares == pytest.approx(np.broadcast_to(np.median(shares, (1, 2, 3), keepdims=True), maps.shape), abs=0.05)
    assert (np.median(shares, (1, 2, 3)) > 0).all()
    assert (np.median(shares, (1, 2, 3)) < 1).all()
    middle = network.get_layer("middle").output
    whole = keras.Model(middle, network.output["malignant"], name="whole")
    assert (np.abs(targets - np.asarray(tf.sigmoid(second.tail(blends)[:, 0]))) > 1e-3).all()
    assert targets == pytest.approx(np.asarray(tf.sigmoid(undefended(blends)[:, 0])), abs=1e-6)
    assert targets == pytest.approx(np.asarray(tf.sigmoid(whole(blends)[:, 0])), abs=1e-6)  # not trained on


def test_the_next_run_begins_with_the_network_as_it_was(network: keras.Model, tmp_path: Path):
    """The study of defences gives one network to all of them."""
    before = network.get_weights()
    _, first = stages.stages(network, _args(tmp_path))
    held = Holdings(RNG.uniform(-1, 1, (8, 5, 5, 8)).astype(np.float32), np.zeros(8), np.arange(8) % 2)
    started = first.tail.get_weights()
    first.step(tf.constant(held.releases), tf.constant(held.labels, tf.float32))
    assert any((now != then).any() for now, then in zip(first.tail.get_weights(), started, strict=True))
    assert all((now == then).all() for now, then in zip(network.get_weights(), before, strict=True))
    _, second = stages.stages(network, _args(tmp_path))
    assert all((now == then).all() for now, then in zip(second.tail.get_weights(), started, strict=True))


def test_an_attribute_that_is_not_known_is_guessed_at_by_nobody():
    known = {"age": "60.0", "sex": "male", "site": "back"}
    rows = [known, {"sex": "unknown", "site": "unknown"}, {}]
    photos = tuple(Photo(Path(f"{n}.jpg"), malignant=False, lesion=str(n), **row) for n, row in enumerate(rows))
    found = exposure.of_persons(dataset.Split(photos, np.zeros((3, 1, 1, 3), np.uint8)))
    assert {name: values.tolist() for name, values in found.items()} == {name: [1, -1, -1] for name in known}


@pytest.mark.filterwarnings("error")
def test_what_is_known_of_no_photo_is_no_secret():
    """As in two plain folders, which say nothing of age, sex and site."""
    photos = [Photo(Path("a.jpg"), malignant=False, lesion=str(n)) for n in range(3)]
    assert secrets_of(photos).tolist() == [[0, 0]] * 3
    aged = [replace(photo, age=age) for photo, age in zip(photos, ("20", "40", "60"), strict=True)]
    assert secrets_of(aged)[:, 1].tolist() == [0, 0, 0]
    assert secrets_of(aged)[:, 0].tolist() == pytest.approx([-1.2247, 0, 1.2247], abs=1e-3)


@pytest.mark.parametrize("age", ["", "unknown", "nan", "85+", "-1"])
def test_an_age_that_is_none_is_not_known_to_anybody(age: str):
    photo, *others = (
        Photo(Path("a.jpg"), malignant=False, lesion=str(n), age=a, sex="male") for n, a in enumerate((age, "40", "60"))
    )
    assert photo.years is None
    assert exposure.of_persons(dataset.Split((photo,), np.zeros((1, 1, 1, 3), np.uint8)))["age"].tolist() == [-1]
    assert secrets_of([photo, *others])[:, 0].tolist() == pytest.approx([0, -1, 1], abs=1e-4)
    assert "age: unknown" in metrics.strata((photo,))
    assert leakage_tables._classes([photo, *others], "age")[0] == ""


def test_weights_that_cannot_be_read_and_too_few_views_are_refused(tmp_path: Path):
    for content in (b"", b"PK", b"no archive"):
        (tmp_path / "guarded.npz").write_bytes(content)
        with pytest.raises(ConfigError, match="cannot read") as caught:
            weights.load({}, tmp_path / "guarded.npz")
        assert caught.value.hint
    labels = np.array([0, 1, 0], np.int32)
    views = CutViews(np.zeros((3, 2, 2, 1)), np.zeros((3, 32, 32, 3)), labels, np.zeros(3), np.array(["a", "b", "c"]))
    with pytest.raises(ConfigError, match="3 views are too few for a batch of 6") as caught:
        Batches(views, 6, 0.7, 1)
    assert "--batch" in caught.value.hint
    assert len(Batches(views, 4, 0.7, 1).draw(0)["labels"]) == 4


def test_another_view_costs_no_earlier_one(network: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pixels = _split(4).pixels
    seeds, computed = [], cut_maps._computed

    def counted(*told):
        seeds.append(told[-1])
        return computed(*told)

    monkeypatch.setattr(cut_maps, "_computed", counted)
    one, more = (
        cut_maps.cut_maps(network, "middle", pixels, tmp_path, recipe="dermoscopy", views=views, seed=7)
        for views in (1, 2)
    )
    assert seeds == [7, 8, 9]
    assert (more.maps[:8] == one.maps).all()
    assert [len(values) for values in vars(more).values()] == [12] * 3
    assert (more.maps[4:8] != more.maps[8:]).any()


def test_two_views_of_a_lesion_are_partners():
    lesions = np.array(["a", "b", "a", "c", "a", "b"])
    views = CutViews(*[np.zeros(6)] * 4, lesions)
    partners = views.partners(np.random.default_rng(1))
    assert (lesions[partners] == lesions).all()
    assert (partners != np.arange(6)).tolist() == [True, True, True, False, True, True]


def test_attacks_find_only_what_the_release_shows():
    thumbs, labels = RNG.random((600, 4, 4, 3)).astype(np.float32), RNG.integers(0, 2, 600)
    plain, hidden = thumbs.reshape(600, -1), np.zeros((600, 48), np.float32)
    train, val = (Holdings(plain[rows], thumbs[rows], labels[rows]) for rows in (slice(300), slice(300, 600)))
    assert ridge_skill(train, val, 0.0, 0, penalty=1.0) > 0.8
    blind = [Holdings(hidden[:300], held.thumbs, held.labels) for held in (train, val)]
    assert ridge_skill(*blind, 0.0, 0) < 0.05
    assert skill(val.thumbs, val, np.zeros((2, 4, 4, 3))) == 1
    assert retrieval(val.thumbs, val) == 1
    assert retrieval(np.zeros_like(val.thumbs), val) == pytest.approx(1 / GALLERY)


def test_victims_are_a_sample_of_the_photos_and_not_the_first_ones():
    """Half of a list, as of another collection, that nobody can rebuild, tell apart or see any structure in."""
    count = 2 * CANDIDATES
    thumbs = RNG.random((count, 8, 8, 3)).astype(np.float32)
    thumbs[: count // 2] = 0.5
    releases = thumbs.reshape(count, 1, 1, -1)
    held = Holdings(releases, thumbs, np.zeros(count, int))
    told = {
        "retrieval": retrieval(thumbs, held),
        "identified": attack.identified(held, 0.0, 0),
        "structure": 1 - attack.structure_above(thumbs, held, np.full((2, 8, 8, 3), 0.5, np.float32)),
    }
    assert told == {name: pytest.approx(0.5, abs=0.1) for name in told}


def test_lesions_are_linked_only_where_the_release_shows_them():
    lesions, noise = np.repeat(np.arange(100), 2), RNG.normal(0, 1, (200, 8))
    own = RNG.normal(0, 1, (100, 8)).repeat(2, axis=0) + 0.3 * noise
    told = {"lesions": lesions, "diagnoses": lesions % 3, "seed": 0}
    assert attack.linked(own, lesions, own, **told) > 0.95
    assert attack.linked(noise, lesions, noise, **told) == pytest.approx(0.5, abs=0.12)
    assert attack.linked(np.zeros((200, 8)), lesions, np.zeros((200, 8)), **told) == 0.5


def test_an_attribute_counts_only_beyond_the_label():
    labels, hidden = RNG.integers(0, 2, (2, 600))
    shown = np.column_stack([hidden + RNG.normal(0, 0.3, 600), RNG.normal(0, 1, 600)])
    unknown = np.r_[hidden[:590], [-1] * 10]

    def probed(releases, attribute):
        halves = [(releases[rows], labels[rows], attribute[rows]) for rows in (slice(300), slice(300, 600))]
        return attack.profiled(*halves, np.arange(300) // 2, seed=0)

    assert probed(shown, unknown)["low"] > 0.3
    assert probed(shown[:, 1:], labels)["beyond"] == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_tried_on_these_photos_is_left_out():
    """Two plain folders show each lesion once, and say nothing of age, sex and site."""
    thumbs, labels, lesions = RNG.random((60, 32, 32, 3)).astype(np.float32), np.arange(60) % 2, np.arange(60)
    held = Holdings(RNG.normal(0, 1, (60, 2, 2, 2)).astype(np.float32), thumbs, labels)
    views = CutViews(np.zeros(60), thumbs, labels, RNG.normal(size=60).astype(np.float32), lesions)
    photos = tuple(Photo(Path("a.jpg"), malignant=bool(label), lesion=str(n)) for n, label in enumerate(labels))
    split = dataset.Split(photos, np.zeros((60, 1, 1, 3), np.uint8))
    found = exposure.linked_and_profiled((views, held), (views, held), {"train": split, "val": split}, 0.3, 0)
    assert found["linked_auc"] is None
    assert set(found["beyond_label"]) == set(found["undefended_answer_beyond_label"]) == set(attack.PROPERTIES)
    paired = {"own": held.releases.reshape(60, -1), "own_lesions": lesions // 2, "lesions": lesions // 2, "seed": 0}
    assert attack.linked(victims=paired["own"], diagnoses=lesions // 2, **paired) is None, "no other of that diagnosis"
    assert attack.linked(victims=paired["own"], diagnoses=labels, **paired) is not None


@pytest.fixture(scope="module")
def network() -> keras.Model:
    photo = keras.Input((40, 40, 3))
    cut = keras.layers.Conv2D(8, 4, strides=4, activation="relu", name="middle")(photo)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 1, activation="relu")(cut))
    return keras.Model(photo, {"malignant": keras.layers.Dense(1)(pooled)})


def _split(count: int) -> dataset.Split:
    photos = tuple(
        Photo(
            *(Path(f"{i}.jpg"), bool(i % 2), f"{count}-{i // 4}", "nv"),
            age="" if i == 0 else str(30 + i),
            sex=("male", "female")[i // 2 % 2],
            site=("back", "hand")[i // 3 % 2],
        )
        for i in range(count)
    )
    light = RNG.uniform(0.3, 1, (count, 1, 1, 1))
    return dataset.Split(photos, (light * RNG.integers(0, 256, (count, 40, 53, 3))).astype(np.uint8))


def _args(run: Path, *more: str) -> argparse.Namespace:
    steps = "--press-steps 6 --learn 2 --tail-steps 2 --joint-steps 4 --attack-epochs 1"
    settings = f"--cut middle {steps} --batch 8 --rebuilders linear --blends"
    return arguments().parse_args(["--run", str(run), "--cache", str(run), *settings.split(), *more])


def test_a_run_resumes_with_the_photos_and_settings_that_it_was_begun_with(network: keras.Model, tmp_path: Path):
    def contents(seed: int) -> Dataset:
        """One photo, always of the same name."""
        (tmp_path / f"{seed}").mkdir(exist_ok=True)
        path = tmp_path / f"{seed}" / "a.jpg"
        Image.fromarray(draw_lesion(seed, 40)).save(path)
        photos = {"train": [Photo(path, malignant=True, lesion="a")], "val": [], "test": []}
        return Dataset(tmp_path, photos, tmp_path / "pixels")

    def resumes(*changed: str, seed: int = 1, of: keras.Model = network) -> bool:
        try:
            begin(run, made_from(_args(run, *changed), contents(seed), of), later=LATER)
        except ConfigError as error:
            assert "give another --run" in error.hint
            return False
        return True

    run = tmp_path / "run"
    run.mkdir()
    assert resumes("--sigma", "0.4")
    assert resumes(), "no checkpoint was written yet"
    (run / PRESS).touch()
    assert resumes("--attack-epochs", "3", "--data", "elsewhere", "--joint-steps", "9", "--tail-steps", "9")
    assert resumes()
    other = keras.models.clone_model(network)
    assert [resumes("--sigma", "0.4"), resumes("--seed", "2"), resumes(seed=2), resumes(of=other)] == [False] * 4
    (run / TAIL).touch()
    assert [resumes("--tail-steps", "9"), resumes("--joint-steps", "9")] == [False, True]
    assert resumes()
    (run / JOINT).touch()
    assert [resumes("--joint-steps", "9"), resumes()] == [False, True]
    (run / BEGUN).unlink()  # as earlier versions left it
    assert [resumes("--sigma", "0.4"), resumes()] == [True, False]


@pytest.mark.slow
def test_a_run_resumes_and_writes_weights_and_figures(
    network: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(stages, "EVERY", 2)
    args = _args(tmp_path)
    splits = {"train": _split(48), "val": _split(24)}
    train, val = (stages.views_of(network, splits[name], args, views) for name, views in (("train", 1), ("val", 0)))
    assert train.maps.shape == (96, 10, 10, 8)
    assert len(list(tmp_path.glob("*-maps.npz"))) == 3  # one for each view
    monkeypatch.setattr(cut_maps, "_computed", None)  # what is cached is not computed again
    assert (stages.views_of(network, splits["val"], args, 0).maps == val.maps).all()

    report = stages.trained(network, train, val, splits, args)
    assert [line["step"] for line in report["press"]] == [2, 4, 6]
    assert [line["step"] for line in report["joint"]] == [2, 4]
    assert {"task", "read", "linear", "auc", "probe", "ridge"} <= set(report["joint"][0])
    assert set(report["auc"]) == {"undefended", "probe", "answer"}
    assert 0 < report["multiply_adds"]["device_share"] < 1
    assert json.loads((tmp_path / "guarded.json").read_text(encoding="utf-8"))["auc"] == report["auc"]
    with np.load(tmp_path / "guarded.npz") as weights:
        assert {name.split(".")[0] for name in weights.files} == {"encoder", "decoder", "tail", "probe"}
        assert weights["encoder.0"].shape == (1, 1, 8, 128)

    again, tail = stages.stages(network, args)
    assert stages.press(again, train, val, args) == []  # nothing is left to do
    pressed = again.encoder.get_weights()[0]
    assert stages.join(joint.JointStage(again, tail, steps=args.joint_steps), train, val, args) == []
    with np.load(tmp_path / "guarded.npz") as weights:
        assert weights["encoder.0"] == pytest.approx(again.encoder.get_weights()[0], abs=1e-3)
        assert (again.encoder.get_weights()[0] != pressed).any()
    other = _args(tmp_path, "--channels", "4")
    with pytest.raises(ConfigError):
        stages.press(stages.stages(network, other)[0], train, val, other)
