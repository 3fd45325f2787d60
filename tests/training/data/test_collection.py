"""Several data sets as one: sources, folds, held-out sources, weights. Needs no TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securesplit.errors import ConfigError
from tests.training.drawn_photos import draw_collection
from training.data.collection import FOLDS
from training.data.dataset import Dataset, Split, list_photos, load_split
from training.data.photo import DataError, Photo
from training.network.config import CONFIGS
from training.network.targets import LARGEST_FACTOR, source_factors, targets_and_weights
from training.network.validation import figures


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    draw_collection(tmp_path)
    return tmp_path


def test_every_photo_knows_where_it_comes_from(collection: Path) -> None:
    data = Dataset.read(collection, collection / "pixels")
    data.check_disjoint()
    photos = data.photos
    assert {split: len(listed) for split, listed in photos.items()} == {"train": 11, "val": 2, "test": 3}
    by_name = {photo.path.stem: photo for listed in photos.values() for photo in listed}
    assert {photo.source.split("/")[0] for photo in photos["train"]} == {"ham10000", "komour", "isic9", "phone"}
    assert (by_name["A2"].dx, by_name["A2"].dx_type, by_name["A2"].malignant) == ("mel", "histo", True)
    assert (by_name["P2"].dx, by_name["P2"].malignant, by_name["P2"].is_premalignant) == ("akiec", True, True)
    assert (by_name["P4"].kind, by_name["P4"].dx, by_name["P4"].sex, by_name["P4"].site) == (
        *("phone", "bkl", "male"),
        "arm",
    )
    assert by_name["S1"].source == "smartphone"
    assert all(photo.path.is_file() for photo in by_name.values())


def test_photos_of_a_patient_are_in_one_fold(collection: Path) -> None:
    phone = [photo for photo in list_photos(collection)["train"] if photo.kind == "phone"]
    folds: dict[str, set[str]] = {}
    for photo in phone:
        folds.setdefault(photo.lesion, set()).add(photo.source)
    assert all(len(found) == 1 for found in folds.values())
    assert {int(photo.source.split("/")[1]) for photo in phone} <= set(range(FOLDS))


def test_what_is_not_finite_is_no_figure() -> None:
    """As a learning rate that is too large makes it; scikit-learn would end with a traceback."""
    split = photos_of(("a", 3, 3))
    for value in (np.nan, np.inf):
        with pytest.raises(ConfigError, match="not finite") as caught:
            figures(split, np.full(6, value))
        assert "learning_rate" in caught.value.hint


def test_a_held_out_source_is_measured_and_not_trained_on(collection: Path) -> None:
    data = Dataset.read(collection, collection / "pixels")
    photos, held = data.photos, data.holding_out(["komour"]).photos
    assert "komour" not in {photo.source for photo in held["train"]}
    assert sum(photo.source == "komour" for photo in held["val"]) == 2
    assert sum(map(len, held.values())) == sum(map(len, photos.values()))
    with pytest.raises(DataError, match="nowhere"):
        data.holding_out(["nowhere"])


def test_a_source_is_left_out_of_training_alone(collection: Path) -> None:
    data = Dataset.read(collection, collection / "pixels")
    left = data.without(["komour", "isic9"]).photos
    assert len(left["train"]) == len(data.photos["train"]) - 3
    assert (left["val"], left["test"]) == (data.photos["val"], data.photos["test"])
    with pytest.raises(DataError, match="nowhere"):
        data.without(["komour", "nowhere"])


def test_a_kind_of_photo_is_kept_in_every_split(collection: Path) -> None:
    photos = Dataset.read(collection, collection / "pixels").of_kind("dermoscopy").photos
    assert {split: len(found) for split, found in photos.items()} == {"train": 5, "val": 2, "test": 2}


def test_an_unknown_diagnosis_is_refused(collection: Path) -> None:
    metadata = collection / "phone" / "metadata.csv"
    metadata.write_text(metadata.read_text().replace("SEK", "XYZ"))
    with pytest.raises(DataError, match="XYZ"):
        list_photos(collection)


def test_the_centre_square_is_what_a_device_shows_the_head(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for width, height in ((40, 30), (30, 30), (30, 60), (90, 30)):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "p.png")
        photo = Photo(tmp_path / "p.png", malignant=False, lesion=f"{width}x{height}")
        frame = load_split([photo], height=30, width=40, cache=tmp_path / f"{width}x{height}").pixels[0]
        assert frame.shape == (30, 40, 3)
        top, left = (height - 30) // 2, (width - 30) // 2
        assert (frame[:, 5:35] == pixels[top : top + 30, left : left + 30]).all(), (width, height)


def photos_of(*groups: tuple[str, int, int]) -> Split:
    listed = [
        Photo(Path("x.jpg"), malignant=malignant, lesion=f"{source}{malignant}{i}", dx="mel", source=source)
        for source, benign, bad in groups
        for malignant, count in ((False, benign), (True, bad))
        for i in range(count)
    ]
    return Split(tuple(listed), np.zeros((len(listed), 1, 1, 3), np.uint8))


def test_no_source_tells_the_label_once_classes_are_weighted() -> None:
    split = photos_of(("a", 60, 20), ("b", 30, 30), ("c", 10, 50))
    factors, malignant, source = source_factors(split), split.malignant > 0, split.source
    shares = [factors[(source == name) & malignant].sum() / factors[source == name].sum() for name in ("a", "b", "c")]
    assert shares == pytest.approx([0.5, 0.5, 0.5])
    assert source_factors(photos_of(("a", 1000, 10), ("b", 1, 990))).max() == LARGEST_FACTOR
    assert (source_factors(photos_of(("", 5, 2))) == 1).all(), "one source needs no weights"
    config = replace(CONFIGS["collection"], malignant_weight=1.0, histology_weight=1.0)
    half = targets_and_weights(split, replace(config, source_balance=0.5))[1]["malignant"]
    assert half == pytest.approx(np.sqrt(factors))


def test_figures_name_sources_and_omit_premalignant_lesions() -> None:
    split = photos_of(("a", 4, 4), ("phone/0", 2, 2), ("phone/1", 2, 2))
    scores = np.where(split.malignant > 0, 1.0, -1.0)
    scores[split.source == "a"] *= -1
    found = figures(split, scores)
    assert (found["val_auc_a"], found["val_auc_phone"], found["val_mean_auc"]) == (0.0, 1.0, 0.5)
    odd = Split((*split.photos, replace(split.photos[0], is_premalignant=True)), np.zeros((17, 1, 1, 3), np.uint8))
    assert figures(odd, np.append(scores, 99.0)) == found
