"""At which size a lesion comes to the network: what is cut out, what is compared, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from tests.training.drawn_photos import draw_collection
from training.data.dataset import Dataset, Split, centre_square
from training.data.photo import DataError, Photo
from training.studies import apparent_size
from training.studies.apparent_size import around, compared, middle, photos_of


def photo(number: int, root: Path = Path()) -> Photo:
    return Photo(root / f"{number}.png", malignant=number % 2 == 0, lesion=str(number // 2), dx_type="histo")


def test_the_whole_photo_is_its_centre_square(tmp_path: Path) -> None:
    draw_collection(tmp_path / "data")
    data = Dataset.read(tmp_path / "data", tmp_path / "cache")
    chosen = photos_of(data, "val", None)
    found = middle(data, chosen, 32, 1.0)
    assert found.photos == tuple(chosen)
    assert np.array_equal(found.pixels, centre_square(data.decoded(chosen, 32).pixels))


def test_a_share_shows_the_middle_alone_and_as_large_as_the_network_takes(tmp_path: Path) -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[25:75, 25:75] = 200
    Image.fromarray(pixels).save(tmp_path / "0.png")
    data, photos = Dataset(tmp_path, {}, tmp_path / "cache"), [photo(0, tmp_path)]
    assert (middle(data, photos, 40, 0.4).pixels == 200).all()
    partly = middle(data, photos, 40, 0.8).pixels[0]
    assert partly.shape == (40, 40, 3)
    assert (partly > 100).mean() == pytest.approx((0.5 / 0.8) ** 2, abs=0.03)


def test_a_square_is_at_most_so_many_times_the_lesion(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:300, :400]
    pixels = np.full((300, 400, 3), (214, 172, 148), np.uint8)
    pixels[(rows - 150) ** 2 + (columns - 120) ** 2 < 30**2] = (120, 74, 60)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    shares = [(around([photo(0, tmp_path)], 40, times).pixels[0].mean(-1) < 130).mean() for times in (2.0, 3.0, 100.0)]
    assert shares == pytest.approx([np.pi / 4 / 2**2, np.pi / 4 / 3**2, np.pi * 30**2 / 300**2], rel=0.15)


def test_a_gain_is_that_of_the_same_photos() -> None:
    rng = np.random.default_rng(1)
    photos = tuple(photo(n) for n in range(200))
    split = Split(photos, np.zeros((200, 1, 1, 3), np.uint8))
    noise = rng.normal(size=200)
    weak, strong = (np.tile(d * split.malignant + noise, 2).astype(np.float32) for d in (1.0, 1.5))
    found = compared(split, {"none": strong}, {"none": weak}, 40)["none"]
    same = compared(split, {"none": weak}, {"none": weak}, 4)["none"]["gain"]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert found["gain"].low > 0.02
    assert found["gain"].high - found["gain"].low < (found["auc"].high - found["auc"].low)
    assert found["auc_histology"].value == found["auc"].value


def test_unseen_photos_are_those_of_one_source(tmp_path: Path) -> None:
    draw_collection(tmp_path / "data")
    data = Dataset.read(tmp_path / "data", tmp_path / "cache")
    found = photos_of(data, "val", "phone")
    assert {p.source.partition("/")[0] for p in found} == {"phone"}
    assert not any(p.is_premalignant for p in found)
    with pytest.raises(DataError, match="no training photo is of elsewhere"):
        photos_of(data, "val", "elsewhere")


def test_the_command_compares_presets_and_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path / "data")
    arguments = [
        "--data",
        tmp_path / "data",
        "--out",
        tmp_path / "out",
        "--privacy",
        "compact",
        "--shares",
        "0.9",
        "--draws",
        "4",
    ]
    monkeypatch.setattr(sys, "argv", ["apparent_size", *map(str, arguments)])
    apparent_size.main()
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[:2] for row in rows[2:]] == [
        ["| compact", "1.00 of the edge"],
        ["| compact", "0.90 of the edge"],
    ]
    written = json.loads((tmp_path / "out" / "apparent-size.json").read_text())
    assert set(written["shown"]) == {"1.00 of the edge", "0.90 of the edge"}
    arguments[arguments.index("--shares") :] = ["--around", "2", "--draws", "4"]
    monkeypatch.setattr(sys, "argv", ["apparent_size", *map(str, arguments)])
    apparent_size.main()
    assert "| compact | 2 times the lesion |" in capsys.readouterr().out


@pytest.mark.parametrize("share", ["0", "1.1", "-1", "nan", "much"])
def test_a_share_is_part_of_a_photo(share: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["apparent_size", "--out", str(tmp_path), "--shares", share])
    with pytest.raises(SystemExit) as left:
        apparent_size.main()
    assert left.value.code == 2
