"""Lists and folders of photos as people have them: read rightly, or refused by an error that names the fault."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from PIL import Image

from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from tests.training.drawn_photos import draw_collection, draw_folders, draw_isic, draw_tree
from training.bundle import calibrate
from training.data.dataset import Dataset, list_photos, load_split
from training.data.duplicates import across_splits
from training.data.photo import DataError, Photo
from training.evaluation import predictions
from training.evaluation.baseline import colour_statistics


def edited(root: Path, edit: Callable[[bytes], bytes]) -> Path:
    draw_isic(root)
    file = root / "metadata.csv"
    file.write_bytes(edit(file.read_bytes()))
    return root


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path: Path) -> None:
    """Spreadsheets write one."""
    plain, marked = edited(tmp_path / "a", bytes), edited(tmp_path / "b", lambda table: b"\xef\xbb\xbf" + table)
    assert Dataset.read(marked, tmp_path).digest == Dataset.read(plain, tmp_path).digest


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda table: b"", "has no column age, dx, dx_type"),
        (lambda table: table.replace(b",", b";"), "has no column"),
        (lambda table: table.replace(b",group,", b",groups,"), "has no column group$"),
        (lambda table: table.replace(b",val,", b",validation,"), "a split of .* is 'validation'"),
        (lambda table: table.replace(b",mel,", b",melanoma,"), "a dx of .* is 'melanoma'"),  # would pass for benign
        (lambda table: table.replace(b",mel,", b",,"), "a dx of .* is ''"),
        (lambda table: table + b"I1,train\n", "row 23 of "),
        (lambda table: table + b"I0mel,train,x,nv,other,other,histo,50,female,back\n", "lists the photo I0mel twice"),
        (lambda table: table + b"I0mel,test,x,mel,other,other,histo,50,female,back\n", "lists the photo I0mel twice"),
        (lambda table: table.replace(b"back", b"R\xfccken"), "cannot read .*metadata.csv"),
        (lambda table: table.replace(b"label,dx", b"dx,dx"), "has the column dx twice"),  # the last one would count
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, edit: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list_photos(edited(tmp_path / "data", edit))
    assert caught.value.hint


def test_empty_rows_of_a_program_for_tables_are_none(tmp_path: Path) -> None:
    plain, padded = edited(tmp_path / "a", bytes), edited(tmp_path / "b", lambda table: table + 3 * (b"," * 9 + b"\n"))
    assert Dataset.read(padded, tmp_path).digest == Dataset.read(plain, tmp_path).digest


@pytest.mark.parametrize(
    ("of_a_photo", "in_the_list"), [("I0mel.JPG", "I0mel"), ("I0mel.png", "I0mel"), ("I0mel.png", "I0mel.png")]
)
def test_a_list_may_be_of_photos_of_any_format(tmp_path: Path, of_a_photo: str, in_the_list: str) -> None:
    root = edited(tmp_path, lambda table: table.replace(b"I0mel,", in_the_list.encode() + b","))
    shutil.move(root / "images" / "I0mel.jpg", root / "images" / of_a_photo)
    assert root / "images" / of_a_photo in [photo.path for photo in list_photos(root)["train"]]


@pytest.mark.parametrize(
    ("draw", "before", "after", "hint"),
    [
        (draw_folders, "benign", "Benign", "rename it to benign"),
        (draw_tree, "train", "TRAIN", "rename it to train"),
        (draw_tree, "val/malignant", "val/Malignant", "rename it to malignant"),
        (draw_tree, "val", "valid", "the splits are called train, val, test"),
    ],
)
def test_a_folder_that_is_called_nearly_as_one_that_is_read_is_told_of(
    tmp_path: Path, draw: Callable[[Path], None], before: str, after: str, hint: str
) -> None:
    draw(tmp_path)
    (tmp_path / before).rename(tmp_path / after)
    with pytest.raises(DataError, match=f"{after} would be left out") as caught:
        list_photos(tmp_path)
    assert hint in caught.value.hint


@pytest.mark.parametrize("draw", [draw_tree, draw_isic, draw_collection])
def test_photos_in_two_layouts_are_told_of(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    draw(tmp_path)
    draw_folders(tmp_path, 1, 1)
    with pytest.raises(DataError, match=r"several layouts: .* and benign/ with malignant/"):
        list_photos(tmp_path)


@pytest.mark.parametrize("source", ["isic_archive", "phone", "smartphone"])
def test_every_list_of_a_collection_is_checked(tmp_path: Path, source: str) -> None:
    draw_collection(tmp_path)
    (tmp_path / source / "metadata.csv").write_text("file,label\n")
    with pytest.raises(DataError, match=f"{source}/metadata.csv has no column"):
        list_photos(tmp_path)


@pytest.mark.parametrize("content", ["photo,split\n", "photo,split,group\nbenign/m0.png,left,a\n"])
def test_a_record_of_a_split_is_checked(tmp_path: Path, content: str) -> None:
    draw_folders(tmp_path, benign=1, malignant=0)
    (tmp_path / "splits.csv").write_text(content)
    with pytest.raises(DataError, match=r"has no column group|a split of .* is 'left'"):
        list_photos(tmp_path)


@pytest.mark.parametrize("label", ["benign", "malignant"])
def test_a_split_of_one_class_is_refused(tmp_path: Path, label: str) -> None:
    draw_tree(tmp_path)
    data = Dataset.read(tmp_path, tmp_path)
    data.check_classes(("train", "val", "test"))
    shutil.rmtree(tmp_path / "val" / label)
    data = Dataset.read(tmp_path, tmp_path)
    data.check_classes(("train", "test"))
    with pytest.raises(DataError, match=f"^no {label} photo is in val$") as caught:
        data.check_classes(("train", "val"))
    assert caught.value.hint == "photos of both classes are needed in train and val"
    few = replace(data, photos={"val": [replace(p, malignant=True, is_premalignant=True) for p in data.photos["val"]]})
    with pytest.raises(DataError, match=r"^no benign and no malignant photo is in val$"):
        few.check_classes(("val",))


def test_photos_of_one_class_are_not_measured(tmp_path: Path) -> None:
    draw_tree(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "val" / "malignant")
    data, bundle = Dataset.read(tmp_path / "data", tmp_path / "cache"), Bundle.load()
    for use in (
        lambda: calibrate.measure(bundle, data, ["none"]),
        lambda: predictions.predict(bundle, data, tmp_path / "cache"),
    ):
        with pytest.raises(DataError, match="no malignant photo is in val"):
            use()


def gone(file: Path) -> None:
    file.unlink()


def another_file(file: Path) -> None:
    file.write_bytes(b"not a photo")


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


@pytest.mark.parametrize("harm", [gone, another_file, cut_off])
def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """By whatever reads it first."""
    draw_isic(tmp_path / "data")
    harm(tmp_path / "data" / "images" / "I1mel.jpg")
    data = Dataset.read(tmp_path / "data", tmp_path / "cache")
    for read in (
        lambda: data.split("val", 30),
        lambda: across_splits(data.photos),
        lambda: colour_statistics(data.photos["val"]),
    ):
        with pytest.raises(DataError, match=r"I1mel\.jpg: ") as caught:
            read()
        assert caught.value.hint
    assert not (tmp_path / "cache").exists()


def test_several_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "images")
    with pytest.raises(DataError, match=r"7 of 7 photos cannot be read, the first of them .*I0nv\.jpg: No such file"):
        Dataset.read(tmp_path / "data", tmp_path / "cache").split("train", 30)


def test_folders_and_files_of_macos_are_no_photos(tmp_path: Path) -> None:
    draw_tree(tmp_path)
    before = list_photos(tmp_path)
    (tmp_path / "train" / "benign" / "._m1.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "train" / "benign" / "more.jpg").mkdir()
    assert list_photos(tmp_path) == before


def test_photos_are_trained_on_as_a_device_turns_them(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :10] = 255
    turned = Image.Exif()
    turned[0x0112] = 6  # a phone that was held upright
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
    photo = Photo(tmp_path / "a.png", malignant=False, lesion="a")
    shown = load_split([photo], height=40, width=52, cache=tmp_path / "cache").pixels[0, :, 26, 0]
    upright = np.asarray(Image.fromarray(pixels).rotate(-90, expand=True))[10:50, 20, 0]
    assert shown.tolist() == upright.tolist()


def test_all_photos_of_folders_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    draw_folders(tmp_path, benign=2, malignant=2)
    (tmp_path / "benign" / "empty.jpg").touch()
    (tmp_path / "benign" / "lost.PNG").symlink_to(tmp_path / "nowhere")
    (tmp_path / "malignant" / "text.jpeg").write_text("hello")
    with pytest.raises(DataError, match=r"3 of 7 photos cannot be read, the first of them .*empty\.jpg") as caught:
        list_photos(tmp_path)
    assert caught.value.hint
    assert not (tmp_path / "splits.csv").exists()


AWKWARD = (
    *("mole 1 left.jpg", "점 사진.JPG", "-m.Jpeg", "[x].png", "=a,b;'c'.tif", 'q"uo\nte.webp', "tab\t.bmp"),
    "e\u0301.jpg",
)
"""The last one as macOS writes it."""


def test_photos_of_folders_may_have_any_name_and_format_that_a_list_can_hold(tmp_path: Path) -> None:
    for label, first in (("benign", 0), ("malignant", 100)):
        (tmp_path / label).mkdir()
        for number, name in enumerate(AWKWARD):
            Image.fromarray(draw_lesion(first + number, 60)).save(tmp_path / label / name)
    before = list_photos(tmp_path)
    assert (tmp_path / "splits.csv").exists()
    assert list_photos(tmp_path) == before
    assert sorted(p.path.name for photos in before.values() for p in photos if p.malignant) == sorted(AWKWARD)


@pytest.mark.parametrize("draw", [draw_tree, draw_folders])
def test_photos_in_folders_within_are_told_of(draw: Callable[[Path], None], tmp_path: Path) -> None:
    draw(tmp_path)
    folder = next(tmp_path.rglob("benign"))
    (folder / "clinic").mkdir()
    (folder / "clinic" / "notes.txt").write_text("no photo")
    list_photos(tmp_path)
    (folder / "clinic" / "m.jpg").write_bytes(b"a photo")
    with pytest.raises(DataError, match=r"clinic/m\.jpg lies in a folder of its own") as caught:
        list_photos(tmp_path)
    assert str(folder) in caught.value.hint


def test_a_name_in_folders_of_both_labels_is_two_lesions(tmp_path: Path) -> None:
    """As where each folder counts its photos from 1."""
    draw_tree(tmp_path)
    (tmp_path / "test" / "malignant" / "m11.png").rename(tmp_path / "test" / "malignant" / "m1.png")
    data = Dataset.read(tmp_path, tmp_path / "pixels")
    data.check_disjoint()
    assert {p.lesion for p in data.photos["train"]} == {"benign/m1", "m2", "m3", "m4"}
    (tmp_path / "test" / "malignant" / "m1.png").rename(tmp_path / "test" / "benign" / "m1.png")
    with pytest.raises(DataError, match="lesion m1 is in both train and test") as caught:
        Dataset.read(tmp_path, tmp_path / "pixels").check_disjoint()
    assert "other names" in caught.value.hint


def test_one_photo_under_both_labels_of_a_tree_is_refused(tmp_path: Path) -> None:
    draw_tree(tmp_path)
    shutil.copy(tmp_path / "train" / "benign" / "m1.png", tmp_path / "val" / "malignant" / "other name.png")
    with pytest.raises(DataError, match=r"m1\.png and .*other name\.png are one photo with two diagnoses"):
        Dataset.read(tmp_path, tmp_path / "pixels").check_disjoint()


@pytest.mark.parametrize("draw", [draw_tree, draw_folders])
def test_a_photo_that_would_be_left_out_is_told_of(draw: Callable[[Path], None], tmp_path: Path) -> None:
    draw(tmp_path)
    folder = next(tmp_path.rglob("benign"))
    (folder / "notes.txt").write_text("no photo")
    list_photos(tmp_path)
    (folder / "m.HEIC").write_bytes(b"a photo of a phone")
    with pytest.raises(DataError, match=r"m\.HEIC is in a format that is not trained on") as caught:
        list_photos(tmp_path)
    assert "PNG" in caught.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes")
@pytest.mark.parametrize("draw", [draw_tree, draw_folders])
def test_a_name_that_no_list_can_hold_is_told_of(draw: Callable[[Path], None], tmp_path: Path) -> None:
    """Such as those of a Korean archive, unpacked by a program that does not know its encoding."""
    draw(tmp_path)
    folder = next(tmp_path.rglob("benign"))
    (folder / os.fsdecode("점.jpg".encode("cp949"))).write_bytes(next(folder.glob("*.png")).read_bytes())
    with pytest.raises(DataError, match="is not in UTF-8") as caught:
        list_photos(tmp_path)
    assert caught.value.hint == "rename it"
