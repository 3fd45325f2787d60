import ast
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import training
from securesplit.imaging import load_square
from tests.training.drawn_photos import HAM, draw_isic, draw_tree
from training.data import dataset
from training.data.dataset import Dataset, list_photos, load_split
from training.data.photo import DataError, Photo


@pytest.mark.parametrize(("draw", "per_split", "malignant"), [(draw_tree, 4, 2), (draw_isic, 7, 3)])
def test_both_layouts(tmp_path: Path, draw: Callable[[Path], None], per_split: int, malignant: int) -> None:
    draw(tmp_path / "data")
    data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
    data.check_disjoint()
    for side in data.photos.values():
        split = load_split(side, height=40, width=50, cache=tmp_path / "cache")
        assert split.pixels.shape == (per_split, 40, 50, 3)
        assert split.malignant.sum() == malignant
        assert (load_split(side, height=40, width=50, cache=tmp_path / "cache").pixels == split.pixels).all()


def test_the_diagnosis_is_an_index_or_unknown(tmp_path: Path) -> None:
    draw_isic(tmp_path / "isic")
    draw_tree(tmp_path / "tree")
    isic = load_split(list_photos(tmp_path / "isic")["val"], height=30, width=40, cache=tmp_path / "cache")
    tree = load_split(list_photos(tmp_path / "tree")["val"], height=30, width=40, cache=tmp_path / "cache")
    assert isic.dx.tolist() == list(range(7))
    assert tree.dx.tolist() == [-1] * 4
    assert isic.histology.all()
    assert not tree.histology.any()


def test_a_photo_of_no_known_lesion_is_a_lesion_of_its_own(tmp_path: Path) -> None:
    rows = [f"I{n},{split},x,nv,,,histo,50,female,back" for n, split in enumerate(("train", "train", "val", "test"))]
    (tmp_path / "metadata.csv").write_text("\n".join([HAM, *rows]) + "\n")
    data = Dataset.read(tmp_path, tmp_path / "pixels")
    data.check_disjoint()
    assert [photo.lesion for split in data.photos.values() for photo in split] == ["I0", "I1", "I2", "I3"]


def test_a_lesion_on_two_sides_is_refused() -> None:
    photo = Photo(Path("a.jpg"), malignant=True, lesion="L1")
    with pytest.raises(DataError, match="L1 is in both train and test"):
        Dataset(Path(), {"train": [photo], "val": [], "test": [photo]}, Path()).check_disjoint()


def test_no_data_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of ham10000/, metadata\.csv, train/benign/"):
        list_photos(tmp_path)
    with pytest.raises(DataError, match=r"there is no folder .*nowhere") as caught:
        list_photos(tmp_path / "nowhere")
    assert "--data" in caught.value.hint
    with pytest.raises(DataError, match="without photos"):
        load_split([], height=1, width=1, cache=tmp_path)


def test_photos_are_never_stretched(tmp_path: Path) -> None:
    pixels = np.full((100, 300, 3), 255, np.uint8)
    y, x = np.mgrid[0:100, 0:300]
    pixels[(x - 150) ** 2 + (y - 50) ** 2 < 30**2] = 0
    Image.fromarray(pixels).save(tmp_path / "c.png")
    photo = Photo(tmp_path / "c.png", malignant=False, lesion="c")
    dark = load_split([photo], height=50, width=66, cache=tmp_path / "cache").pixels[0, :, :, 0] < 128
    assert abs(int(dark.any(0).sum()) - int(dark.any(1).sum())) <= 1


@pytest.mark.parametrize(("width", "x"), [(300, 150), (300, 60), (200, 100)])
def test_a_frame_has_the_square_around_the_lesion_in_its_middle(tmp_path: Path, width: int, x: int) -> None:
    """As a device shows it; beside it, what the photo shows there, and beyond the photo its mirror image."""
    rows, columns = np.mgrid[0:200, 0:width]
    pixels = np.stack([np.full_like(rows, 214), 172 + columns * 30 // width, np.full_like(rows, 148)], -1).astype(
        np.uint8
    )
    pixels[(columns - x) ** 2 + (rows - 100) ** 2 < 28**2] = (120, 74, 60)
    Image.fromarray(pixels).save(tmp_path / "c.png")
    photo = Photo(tmp_path / "c.png", malignant=False, lesion="c")
    data = Dataset(tmp_path, {"val": [photo]}, tmp_path / "cache").framed("lesion")
    frame, square = data.split("val", 60).pixels[0], load_square(tmp_path / "c.png", 60, "lesion")
    assert frame.shape == (60, 80, 3)
    assert square.crop.by == "lesion"
    assert np.abs(frame[:, 10:70].astype(int) - square.pixels).max() <= 8  # its two edges have other neighbours
    assert np.abs(frame[:, 13:67].astype(int) - square.pixels[:, 3:-3]).max() <= 1
    pixel = square.edge / 60
    at = round(square.crop.left * width - 5 * pixel), round(square.crop.top * 200 + 30 * pixel)
    if at[0] > 0:
        assert np.abs(frame[30, 5].astype(int) - pixels[at[1], at[0]]).max() <= 3
    else:
        assert np.abs(frame[30, 8].astype(int) - frame[30, 11]).max() <= 3
    assert (data.framed("centre square").split("val", 60).pixels[0] != frame).any()


def test_the_digest_follows_labels_and_splits() -> None:
    one, same, other, moved = (
        Dataset(Path(), {"train": [], "val": [], "test": [], split: [Photo(Path("a.jpg"), malignant, "a")]}, Path())
        for split, malignant in (("train", True), ("train", True), ("train", False), ("val", True))
    )
    assert one.digest == same.digest
    assert len({one.digest, other.digest, moved.digest}) == 3


def test_digests_of_earlier_releases_stay_valid(tmp_path: Path) -> None:
    draw_isic(tmp_path / "isic")
    data = Dataset.read(tmp_path / "isic", tmp_path / "cache")
    assert data.digest == "b5941f2c4b83602d185b9b5173dc5e35d125e3831b956027f6628ef4ed6b93e0"


def replaced_at_the_same_time(file: Path) -> None:
    """By a longer file."""
    before = file.stat()
    file.write_bytes(drawn_bmp(200) + b"more")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_as_many_bytes(file: Path) -> None:
    """A second later."""
    before = file.stat()
    file.write_bytes(drawn_bmp(200))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))


LEARNED = {"dx": "mel", "dx_type": "histo", "source": "s", "kind": "phone", "is_premalignant": True}


def drawn_bmp(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20), (level,) * 3).save(stream, "BMP")
    return stream.getvalue()


@pytest.mark.parametrize("replace", [replaced_at_the_same_time, replaced_by_as_many_bytes])
def test_a_photo_that_was_replaced_is_decoded_again(tmp_path: Path, replace: Callable[[Path], None]) -> None:
    photo = Photo(tmp_path / "a.png", malignant=False, lesion="a")
    photo.path.write_bytes(drawn_bmp(10))

    def levels() -> set[int]:
        return {*load_split([photo], height=8, width=10, cache=tmp_path / "cache").pixels.ravel().tolist()}

    assert levels() == levels() == {10}
    assert len([*(tmp_path / "cache").iterdir()]) == 1
    replace(photo.path)
    assert levels() == {200}


def test_the_fingerprint_follows_the_files_and_all_that_is_known(tmp_path: Path) -> None:
    def fingerprint(root: Path, **known: str) -> str:
        photo = Photo(root / "a.png", malignant=False, lesion="a", **known)
        return Dataset(root, {"train": [photo], "val": [], "test": []}, root).fingerprint

    file = tmp_path / "one" / "a.png"
    file.parent.mkdir()
    file.write_bytes(drawn_bmp(10))
    found = [fingerprint(file.parent), fingerprint(file.parent, source="s"), fingerprint(file.parent, kind="phone")]
    file.parent.rename(tmp_path / "moved")
    assert fingerprint(tmp_path / "moved") == found[0]
    for change in (replaced_at_the_same_time, replaced_by_as_many_bytes, Path.unlink):
        change(tmp_path / "moved" / "a.png")
        found.append(fingerprint(tmp_path / "moved"))
    assert len({*found}) == 6


def test_contents_are_those_of_the_files_wherever_they_lie_and_all_that_is_learned(tmp_path: Path) -> None:
    def contents(root: Path, **known: Any) -> str:
        photo = Photo(root / "a.png", malignant=False, lesion="a", **known)
        return Dataset(root, {"train": [photo], "val": [], "test": []}, tmp_path / "cache").contents

    file = tmp_path / "one" / "a.png"
    file.parent.mkdir()
    file.write_bytes(drawn_bmp(10))
    first = contents(file.parent)
    others = [contents(file.parent, **{name: value}) for name, value in LEARNED.items()]
    file.parent.rename(moved := tmp_path / "moved")
    os.utime(moved / "a.png", ns=(0, 0))
    assert contents(moved) == first
    replaced_by_as_many_bytes(moved / "a.png")
    others.append(contents(moved))
    (moved / "a.png").unlink()
    others.append(contents(moved))
    assert len({first, *others}) == 3 + len(LEARNED)


def test_files_are_read_once_as_long_as_they_do_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(dataset, "sha256_of", lambda path: (read.append(path), "x")[1])
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_bytes(b"photo")
    for _ in range(2):
        assert dataset.sha256_of_files(files[::-1], tmp_path / "cache") == {str(file): "x" for file in files}
    assert read == files


def test_only_commands_read_a_data_folder() -> None:
    readers = set()
    for file in Path(training.__file__).parent.rglob("*.py"):
        functions = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
        named = {f.name for f in functions for call in ast.walk(f) if "Dataset.read(" in ast.unparse(call)}
        assert named <= {"main"}, file
        readers |= named
    assert readers == {"main"}


def test_the_real_split_is_by_lesion(real_data: Path) -> None:
    data = Dataset.read(real_data / "ham10000", real_data / "none")
    data.check_disjoint()
    assert [len(data.photos[s]) for s in ("train", "val", "test")] == [6996, 1500, 1509]
