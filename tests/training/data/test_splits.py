"""Two folders of photos become three splits: by picture, with shares of both classes, the same way every time."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.training.drawn_photos import draw_folders
from training.data.dataset import Dataset, list_photos
from training.data.photo import SPLITS, DataError
from training.data.splits import EARLIER_RECORD, RECORD, SHARES, allocate


def test_two_folders_are_split_by_picture_and_by_class(tmp_path: Path) -> None:
    draw_folders(tmp_path)
    copies = [tmp_path / "benign" / f"copy-{turn}.jpg" for turn in (0, 90, 180)]
    for turn, copy in zip((0, 90, 180), copies, strict=True):
        Image.open(tmp_path / "benign" / "m3.png").rotate(turn).save(copy, quality=60)
    data = Dataset.read(tmp_path, tmp_path / "pixels")
    data.check_disjoint()
    photos = data.photos
    assert sum(map(len, photos.values())) == 37
    assert all({p.malignant for p in members} == {True, False} for members in photos.values())
    sides = {
        split
        for split, members in photos.items()
        for p in members
        if p.path.name in ("m3.png", *(c.name for c in copies))
    }
    assert len(sides) == 1
    assert len({p.lesion for members in photos.values() for p in members}) == 34


def test_splits_are_recorded_and_independent_of_the_record(tmp_path: Path) -> None:
    draw_folders(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first = {p.path.name: split for split, members in list_photos(tmp_path / "one").items() for p in members}
    record = (tmp_path / "one" / RECORD).read_text()
    assert record.startswith("photo,split,group\n")
    assert "\nbenign/m0.png," in record, "on any system, so that it is read on every other"
    again = {p.path.name: split for split, members in list_photos(tmp_path / "one").items() for p in members}
    other = {p.path.name: split for split, members in list_photos(tmp_path / "two").items() for p in members}
    assert first == again == other


def test_photos_added_later_are_refused_until_split(tmp_path: Path) -> None:
    draw_folders(tmp_path, benign=4, malignant=4)
    list_photos(tmp_path)
    shutil.copy(tmp_path / "benign" / "m1.png", tmp_path / "benign" / "late.png")
    with pytest.raises(DataError, match=r"splits\.csv was made for other photos"):
        list_photos(tmp_path)
    (tmp_path / RECORD).rename(tmp_path / EARLIER_RECORD)
    with pytest.raises(DataError, match=r"division\.csv was made for other photos"):
        list_photos(tmp_path)
    (tmp_path / EARLIER_RECORD).unlink()
    assert sum(map(len, list_photos(tmp_path).values())) == 9


@pytest.mark.parametrize("gone", ["benign/m1.png", "malignant/m102.png"])
def test_a_record_of_photos_that_are_gone_is_refused(tmp_path: Path, gone: str) -> None:
    """Or a split would be smaller than what was measured on it says."""
    draw_folders(tmp_path, benign=4, malignant=4)
    before = list_photos(tmp_path)
    (tmp_path / gone).rename(tmp_path / "elsewhere.png")
    with pytest.raises(DataError, match=r"splits\.csv was made for other photos; delete it"):
        list_photos(tmp_path)
    (tmp_path / "elsewhere.png").rename(tmp_path / gone)
    assert list_photos(tmp_path) == before


def test_one_photo_with_two_diagnoses_is_refused(tmp_path: Path) -> None:
    draw_folders(tmp_path, benign=4, malignant=4)
    shutil.copy(tmp_path / "benign" / "m1.png", tmp_path / "benign" / "again.png")
    shutil.copy(tmp_path / "benign" / "m1.png", tmp_path / "malignant" / "other name.png")
    with pytest.raises(DataError, match=r"again\.png and .*other name\.png are one photo with two diagnoses") as caught:
        list_photos(tmp_path)
    assert caught.value.hint
    assert not (tmp_path / RECORD).exists()
    (tmp_path / "malignant" / "other name.png").unlink()
    assert sum(map(len, list_photos(tmp_path).values())) == 9


def test_empty_folders_are_a_clear_error(tmp_path: Path) -> None:
    for label in ("benign", "malignant"):
        (tmp_path / label).mkdir()
    with pytest.raises(DataError, match="no photo in benign/ and malignant/"):
        list_photos(tmp_path)


def test_shares_hold_for_both_classes() -> None:
    members = {f"g{i}": [i % 5 == 0] * (1 + i % 3) for i in range(400)}
    side = allocate(members, seed=4)
    for malignant in (True, False):
        photos = {s: sum(len(m) for g, m in members.items() if side[g] == s and m[0] == malignant) for s in SPLITS}
        total = sum(photos.values())
        assert all(abs(photos[s] / total - SHARES[s]) < 0.02 for s in SPLITS)
    assert allocate(members, seed=4) == side != allocate(members, seed=5)
