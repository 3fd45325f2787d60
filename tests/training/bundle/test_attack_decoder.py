"""The attack decoder is made in one command, the same each time, and says what it got on lesions that it never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
pytest.importorskip("sklearn")

import keras
from keras import layers

from securesplit.audit.context import as_photos
from securesplit.audit.setting import AttackerKnowledge
from securesplit.device.release_step import Releaser
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, attack_decoder, packing
from training.bundle import attack_decoder as making

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

SIDE, PHOTOS = 24, 160


def bundle_in(folder: Path) -> Bundle:
    """A network that sends a small picture of the photo."""
    photo = keras.Input((SIDE, SIDE, 3))
    cut = layers.AveragePooling2D(4, name="cut")(layers.Rescaling(1 / 255)(photo))
    network = keras.Model(photo, layers.Dense(1, "sigmoid")(layers.Flatten()(cut)), name="tiny")
    keras.utils.set_random_seed(1)
    drawn = np.stack([draw_lesion(seed, SIDE) for seed in range(6)])
    packed = packing.pack(network, "cut", drawn, precision="float32")
    about = {"licence": "CC0", "provenance": {"made": "here"}}
    packing.write_bundle(folder, packed, name="tiny", backbone="tiny", cut="cut", side=SIDE, about=about)
    return Bundle.load(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for label in ("benign", "malignant"):
        (folder / label).mkdir()
        for seed in range(PHOTOS // 2):
            Image.fromarray(draw_lesion(seed + 1000 * len(label), 2 * SIDE)).save(folder / label / f"{seed:03}.png")
    return folder


@pytest.mark.slow
def test_one_command_makes_the_same_decoder_each_time(data: Path, tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path / "bundle")
    info = making.make(bundle, data)
    after = Bundle.load(tmp_path / "bundle")
    assert after.id == bundle.id
    assert after.manifest.attack_decoder == info
    assert after.manifest.provenance["made"] == "here"
    assert after.manifest.provenance["attack_decoder"]["photos"] == data.name
    assert info.presets["none"].skill > 0.5, "a small picture gives itself away"
    assert info.presets["none"].photos + info.presets["none"].learned_from == PHOTOS
    releaser, decoder = Releaser(after, bytes(32)), after.open_attack_decoder()
    photo = draw_lesion(77, 2 * SIDE)
    assert decoder is not None
    found = decoder.rebuild(releaser.preset.spec, releaser.release(photo).release, malignant=False)
    assert found is not None
    truth = as_photos(photo[None], making.SIDE)[0]
    assert np.square(truth - found.picture / 255).mean() < 0.5 * np.square(truth - found.class_mean / 255).mean()
    content = (tmp_path / "bundle" / attack_decoder.FILE).read_bytes()
    assert making.make(after, data) == info
    assert (tmp_path / "bundle" / attack_decoder.FILE).read_bytes() == content


def known(clean: np.ndarray, photos: np.ndarray) -> AttackerKnowledge:
    return AttackerKnowledge(photos.astype(np.float32), clean.astype(np.float32), np.zeros(len(photos), bool))


def test_a_value_decodes_to_the_mean_of_its_photos() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, 600)
    photos = np.ones((600, making.GRID, making.GRID, 3)) * np.array([0.2, 0.4, 0.5])[values][:, None, None, None]
    seen = values[:, None].astype(np.float32) + 1e-8 * rng.normal(size=(600, 1)).astype(np.float32)
    (way,) = making.counted_way(known(values[:, None], photos), seen, 1.0)
    shown = way.pictures(np.array([[-5.0], [0.0], [0.5], [1.0], [2.0], [9.0]], np.float32))
    assert shown.shape == (6, making.SIDE, making.SIDE, 3)
    assert shown.mean((1, 2, 3)) == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.5, 0.5], abs=0.01)


def test_a_release_of_many_values_is_not_counted() -> None:
    rng = np.random.default_rng(0)
    photos = rng.random((40, making.GRID, making.GRID, 3))
    assert not [*making.counted_way(known(rng.random((40, 1)), photos), rng.random((40, 1)).astype(np.float32), 0.01)]
    assert not [*making.counted_way(known(np.zeros((40, 2)), photos), np.zeros((40, 2), np.float32), 1.0)]


def test_a_linear_release_is_inverted_through_noise() -> None:
    """A1 finds what a linear map keeps; with noise it shrinks towards the mean."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(120, 4))
    shades = 0.5 + 0.1 * codes @ rng.normal(size=(4, making.GRID * making.GRID * 3)) / 4
    photos = shades.reshape(120, making.GRID, making.GRID, 3)
    found = known(codes, photos)
    errors = []
    for sigma in (0.0, 3.0):
        ways = [*making.linear_ways(found, sigma)]
        assert {way.attack for way in ways} == {"A1"}
        seen = (codes + rng.normal(size=codes.shape) * sigma).astype(np.float32)
        rebuilt = ways[0].network(seen)
        errors.append(float(np.square(photos - rebuilt).mean()))
    assert errors[0] < 0.01 * photos.var()
    assert 0.5 * photos.var(0).mean() < errors[1] < 1.05 * photos.var(0).mean()


def test_a_release_that_no_small_decoder_can_take_is_left_out() -> None:
    photos = np.zeros((40, making.GRID, making.GRID, 3))
    assert not [*making.linear_ways(known(np.zeros((40, 1 + making.MAX_WEIGHTS)), photos), 0.0)]
