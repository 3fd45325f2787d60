"""Order, balance and views of training photos. Needs TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import packing
from securesplit.model.bundle import DEFAULT_FOLDER
from training.data.dataset import Split, centre_square
from training.data.photo import DataError, Photo
from training.network.augmentation import RECIPES, AugmentationRecipe, Camera, HairOverlay, RandomAffine, Views
from training.network.batches import ArrayBatches, BatchSource, Shard, epoch_order, tensorflow_batches
from training.network.config import CONFIGS, Config
from training.network.teacher import Teacher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

CONFIG = Config(backbone="tiny", side=32, batch=4, epochs=3, pixels="0..1", views="student")
FRAMES = np.stack([draw_lesion(seed, 40)[4:36] for seed in range(14)])  # 32 high, 40 wide


WHOLE = Shard()


def source(config: Config, teacher: Teacher | None = None, shard: Shard = WHOLE) -> BatchSource:
    photos = tuple(Photo(Path(f"{i}.png"), malignant=i < 3, lesion=str(i)) for i in range(14))
    split = Split(photos, FRAMES)
    targets = {"malignant": split.malignant[:, None]}
    return BatchSource(split, targets, {"malignant": np.arange(14, dtype=np.float32)}, config, teacher, shard)


def test_batches_are_balanced_and_use_all_of_the_smaller_class() -> None:
    malignant = np.array([1, 1, 1] + [0] * 11)
    order = epoch_order(malignant, CONFIG, epoch=0)
    assert len(order) == 22
    assert malignant[order].sum() == 11
    assert set(np.bincount(order, minlength=14)[:3]) == {3, 4}
    assert set(np.bincount(order, minlength=14)[3:]) == {1}
    few = epoch_order(malignant, replace(CONFIG, per_class=5), epoch=0)
    assert (len(few), malignant[few].sum(), len(set(few[malignant[few] == 0]))) == (10, 5, 5)
    assert sorted(epoch_order(malignant, replace(CONFIG, balance="none"), epoch=0)) == list(range(14))
    assert (epoch_order(malignant, CONFIG, 1) != order).any()
    with pytest.raises(ValueError, match="both classes"):
        epoch_order(np.zeros(5), CONFIG, 0)


def test_machines_share_an_epoch_between_them() -> None:
    whole = source(CONFIG).rows(1)
    parts = [source(CONFIG, shard=Shard(i, 2)).rows(1) for i in range(2)]
    assert sorted(np.concatenate(parts)) == sorted(whole)
    assert len(whole) == source(CONFIG).steps * CONFIG.batch == 20


@pytest.mark.parametrize("make", [tensorflow_batches, ArrayBatches])
def test_batches_are_the_epoch_s_photos_also_when_a_run_goes_on(make: type) -> None:
    still = replace(CONFIG, views="none")
    made = source(still)
    batches = make(made, 2)
    found = [batches[i] for i in range(len(batches))] if make is ArrayBatches else list(batches.take(made.steps))
    rows = np.concatenate([np.asarray(weights["malignant"]) for _, _, weights in found]).astype(int)
    assert (rows == made.rows(2)).all()
    photos = np.concatenate([np.asarray(photos) for photos, _, _ in found])
    assert np.abs(photos - centre_square(FRAMES)[rows]).max() == 0
    assert (np.concatenate([np.asarray(t["malignant"]) for _, t, _ in found])[:, 0] == (rows < 3)).all()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_views_differ_stay_pixels_and_widen_with_strength(name: str) -> None:
    frames = keras.ops.convert_to_tensor(FRAMES.astype(np.float32))
    centre = centre_square(FRAMES).astype(np.float32)
    distance = []
    for strength in (0.0, 0.5, 1.5):
        views = Views(name, strength, (32, 40), 24, seed=1)
        squares = keras.ops.convert_to_numpy(views.square(frames))
        assert squares.shape == (14, 32, 32, 3)
        assert squares.min() >= -1e-3
        assert squares.max() <= 255.001
        assert views.fit(squares).shape == (14, 24, 24, 3)
        mirrored = np.stack([centre, centre[:, :, ::-1]])
        distance.append(np.abs(mirrored - squares).mean((2, 3, 4)).min(0).mean())
    if name == "student":
        assert distance[0] == 0  # a flip at most
    assert distance[0] < distance[1] < distance[2]
    again = Views(name, 1.0, (32, 40), 24, seed=1)
    assert (
        np.abs(
            keras.ops.convert_to_numpy(again.square(frames)) - keras.ops.convert_to_numpy(again.square(frames))
        ).max()
        > 1
    )


def test_a_disc_turns_about_its_centre_and_only_zoom_resizes_it() -> None:
    y, x = np.mgrid[:61, :81] - np.array([30, 40])[:, None, None]
    disc = np.broadcast_to(np.clip(12.5 - np.hypot(x, y), 0, 1)[None, ..., None] * 255, (40, 61, 81, 3))
    photos = keras.ops.convert_to_tensor(disc.astype(np.float32))
    turned = keras.ops.convert_to_numpy(
        RandomAffine(AugmentationRecipe("horizontal_and_vertical", 0.5, 0.0, 0.0), 1.0, seed=1)(photos)
    )
    difference = np.abs(turned - disc)[:, 10:51, 20:61]  # in the corners stands the mirror image of a turned disc
    assert difference.max() < 80  # of 255, on the rim, from interpolation
    assert difference.mean() < 2
    areas = keras.ops.convert_to_numpy(RandomAffine(AugmentationRecipe("", 0.0, 0.0, 0.3), 1.0, seed=1)(photos)).mean(
        (1, 2, 3)
    )
    grown = areas / disc[0].mean()
    assert 0.98 < grown.min() < 1.2
    assert 1.7 < grown.max() < 1 / 0.7**2 + 0.02
    shifted = keras.ops.convert_to_numpy(RandomAffine(AugmentationRecipe("", 0.0, 0.1, 0.0), 1.0, seed=1)(photos))[
        ..., 0
    ]
    weights = shifted / shifted.sum((1, 2), keepdims=True)
    centres = np.stack([(weights * x).sum((1, 2)), (weights * y).sum((1, 2))])
    assert np.abs(centres).max() < 6.2
    assert (np.abs(centres).max(1) > 4).all()


def test_hairs_are_thin_dark_lines_on_some_photos() -> None:
    plain = np.full((200, 150, 200, 3), 180, np.float32)
    drawn = keras.ops.convert_to_numpy(HairOverlay(3, seed=1)(plain))
    assert drawn.max() == 180
    assert drawn.min() < 80
    dark = (drawn[..., 0] < 170).mean((1, 2))
    assert 0.1 < (dark == 0).mean() < 0.6  # a quarter get none, and some hairs pass outside
    assert 0.003 < np.median(dark[dark > 0]) < 0.06


def test_some_views_are_blurred_some_sharpened_and_some_framed() -> None:
    edge = np.zeros((64, 40, 40, 3), np.float32)
    edge[:, :, 20:] = 200
    shown = keras.ops.convert_to_numpy(Camera(replace(RECIPES["cameras"], frame=0.0), 1.0, seed=1)(edge))
    step = shown[:, 20, 20, 0] - shown[:, 20, 19, 0]
    assert (step < 150).any()
    assert (step >= 200).any()
    assert (shown[:, 20, 5] == 0).all(), "flat parts stay as they are"
    white = np.full((200, 40, 50, 3), 200, np.float32)
    corner = keras.ops.convert_to_numpy(Camera(RECIPES["cameras"], 1.0, seed=1)(white))[:, 0, 0, 0]
    assert 0.1 < (corner == 0).mean() < 0.4
    middle = keras.ops.convert_to_numpy(Camera(RECIPES["cameras"], 1.0, seed=1)(white))[:, 20, 25, 0]
    assert np.allclose(middle, 200, atol=0.01)


def test_phone_photos_come_as_often_as_wanted() -> None:
    malignant, phone = np.array([1, 0, 0, 1]), np.array([1, 1, 3, 3])
    order = epoch_order(malignant, replace(CONFIG, balance="none"), 0, phone)
    assert np.bincount(order).tolist() == [1, 1, 3, 3]
    made = source(replace(CONFIG, balance="none", phone_repeat=3))
    phones = tuple(replace(photo, kind="phone") if i < 2 else photo for i, photo in enumerate(made.split.photos))
    shown = replace(made, split=Split(phones, FRAMES)).rows(0)
    assert (made.steps, len(shown)) == (3, 16)
    assert np.bincount(shown)[:2].sum() >= 4, "two of eighteen are left out of whole batches"


@pytest.mark.parametrize("make", [tensorflow_batches, ArrayBatches])
def test_every_trick_together_makes_batches_of_the_right_form(make: type) -> None:
    made = source(replace(CONFIG, views="dermoscopy", hairs=2, cutmix=1.0))
    batches = make(made, 0)
    photos, targets, weights = batches[0] if make is ArrayBatches else next(iter(batches))
    assert photos.shape == (4, 32, 32, 3)
    assert targets["malignant"].shape == (4, 1)
    assert weights["malignant"].shape == (4,)
    assert np.isfinite(np.asarray(photos)).all()


def test_the_target_mixes_in_the_deployed_bundle_as_teacher() -> None:
    teacher = Teacher()
    taught = replace(CONFIG, views="none", teacher_share=0.7)
    made = source(taught, teacher)
    _, targets, weights = next(iter(tensorflow_batches(made, 0)))
    rows = np.asarray(weights["malignant"]).astype(int)
    expected = 0.3 * (rows < 3) + 0.7 * teacher.probability(centre_square(FRAMES)[rows])[:, 0]
    assert np.allclose(np.asarray(targets["malignant"])[:, 0], expected, atol=1e-6)
    _, arrays, _ = ArrayBatches(made, 0)[0]
    assert np.allclose(arrays["malignant"], targets["malignant"], atol=1e-6)


@pytest.mark.parametrize("make", [tensorflow_batches, ArrayBatches])
def test_a_teacher_teaches_the_sources_that_it_should(make: type) -> None:
    teacher = Teacher()
    config = replace(CONFIG, batch=12, views="none", teacher_share=0.7, taught_sources="one, three")
    made = source(config, teacher)
    names = np.array([("one", "two", "three")[i % 3] for i in range(14)])
    photos = [replace(photo, source=name) for photo, name in zip(made.split.photos, names, strict=True)]
    made = replace(made, split=Split(tuple(photos), FRAMES))
    batches = make(made, 0)
    _, targets, weights = batches[0] if make is ArrayBatches else next(iter(batches))
    rows = np.asarray(weights["malignant"]).astype(int)
    share = np.where(names[rows] == "two", 0.0, 0.7)
    assert len(set(share)) == 2
    expected = (1 - share) * (rows < 3) + share * teacher.probability(centre_square(FRAMES)[rows])[:, 0]
    assert np.allclose(np.asarray(targets["malignant"])[:, 0], expected, atol=1e-6)


def test_a_source_to_be_taught_that_no_photo_is_of_is_named() -> None:
    with pytest.raises(DataError, match="no photo is of elsewhere"):
        _ = source(replace(CONFIG, teacher_share=0.7, taught_sources="elsewhere")).shares


def test_several_bundles_teach_their_mean(tmp_path: Path) -> None:
    photo = keras.Input((24, 24, 3))
    cut = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="cut")(photo)
    answer = keras.layers.Dense(1, name="answer")(keras.layers.GlobalAveragePooling2D()(cut))
    photos = np.random.default_rng(1).integers(0, 256, (2, 24, 24, 3), np.uint8)
    packed = packing.pack(keras.Model(photo, answer), "cut", photos, precision="float32")
    names = {"name": "other", "backbone": "small", "cut": "cut", "side": 24}
    packing.write_bundle(tmp_path / "other", packed, **names, about={"licence": "CC0", "provenance": {}})
    squares = centre_square(FRAMES)[:3]
    alone = [Teacher(folders) for folders in ([], [tmp_path / "other"])]
    both = Teacher([DEFAULT_FOLDER, tmp_path / "other"])
    assert (both.side, both.id) == (150, f"{alone[0].id} and {alone[1].id}")
    parts = [teacher.probability(squares) for teacher in alone]
    assert np.abs(parts[0] - parts[1]).max() > 0.01
    assert np.allclose(both.probability(squares), (parts[0] + parts[1]) / 2, atol=1e-6)


def test_the_default_configurations_name_views_that_exist() -> None:
    assert {config.views for config in CONFIGS.values()} <= set(RECIPES)
