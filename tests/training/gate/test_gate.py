"""A gate is fitted on examples, calibrated on others, and written into its bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from securesplit.imaging import load_photo
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, gate
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.guarded_preset import GATE
from securesplit.model.manifest import KindOfPhoto
from securesplit.results import Framing, Kind
from securesplit_testing.guarded import write_guarded_bundle
from tests.training.drawn_photos import draw_isic
from training.data.collection import fold_of
from training.data.dataset import Dataset
from training.data.photo import DataError, Photo
from training.gate import fit as fitting
from training.gate import samples, textures, without_skin
from training.gate.degraded import HARMS
from training.gate.head_map import give_map

SIDE, CHANNELS, PATIENTS = 120, 16, 4
Maps = NDArray[np.float32]


def examples() -> tuple[samples.Examples, Maps, NDArray[np.float32]]:
    """Maps that differ by what they are, a shift of channels for each kind and each harm, with their measures."""
    rng = np.random.default_rng(0)
    maps, what, group, side, fold = [], [], [], [], []
    for name, of in (
        ("ok", "ham10000"),
        ("ok", "phone"),
        ("blur", "ham10000"),
        ("blur", "phone"),
        ("texture", "drawn"),
    ):
        for number in range(SIDE):
            shift = np.zeros(CHANNELS)
            shift[0] = 4 * (of == "phone")
            shift[1] = 6 * (name == "blur")
            shift[2:8] = rng.normal(0, 12, 6) if name == "texture" else 0
            maps.append(rng.normal(shift, 1, (5, 5, CHANNELS)))
            what.append(name)
            group.append(of)
            side.append("val" if name == "ok" and number % 2 else "train")
            fold.append(number % PATIENTS if of == "phone" else -1)
    found, measures = np.array(maps, np.float32), rng.normal(size=(len(maps), gate.MEASURES)).astype(np.float32)
    features = np.stack([gate.features(m, q) for m, q in zip(found, measures, strict=True)])
    labels = (np.array(what), np.array(group), np.array(side), np.array(fold))
    return samples.Examples(features, np.array(found.shape[1:]), *labels), found, measures


@pytest.fixture(scope="module")
def fitted() -> tuple[gate.Gate, samples.Examples]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "COMPONENTS", 4)
        return fitting.fit(examples()[0]), examples()[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_whole_photos_pass_and_others_are_refused_by_reason(
    fitted: tuple[gate.Gate, samples.Examples],
) -> None:
    judge, (found, maps, measures) = fitted[0], examples()
    verdicts = [judge.judge(m, q) for m, q in zip(maps, measures, strict=True)]
    reasons = np.array([str(v.reason) for v in verdicts])
    assert (reasons[found.what == "ok"] == "None").mean() > 0.9
    assert (reasons[found.what != "ok"] != "None").mean() > 0.95
    assert (reasons[found.what == "blur"] == "blur").mean() > 0.6
    assert (reasons[found.what == "texture"] == "not-skin").mean() > 0.9
    kinds = np.array([v.kind for v in verdicts])
    whole = found.what == "ok"
    assert (kinds[whole] == [fitting.kind_of(g) for g in found.group[whole]]).mean() > 0.85


def test_limits_of_phone_photos_come_from_gates_that_did_not_learn_them(
    fitted: tuple[gate.Gate, samples.Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, found = fitted
    learned: list[NDArray[np.bool_]] = []

    def noted(examples: samples.Examples, used: NDArray[np.bool_]) -> gate.Gate:
        learned.append(used)
        return replace(judge, limits={})

    monkeypatch.setattr(fitting, "fitted", noted)
    fitting.fit(found)
    left_out = [set(found.fold[~used & (found.group == "phone")]) for used in learned]
    assert left_out == [*({fold} for fold in range(PATIENTS)), set()]
    val = (found.side == "val") & (found.group == "ham10000")
    assert not any((used & val).any() for used in learned)


def test_a_head_gives_the_map_of_a_layer_and_all_else_as_before(tmp_path: Path) -> None:
    shipped, pixels = Bundle.load(), draw_lesion(1, 150)
    before = Bundle.load(Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle")))
    after = give_map(before, "block3b_add")
    assert after.id != before.id
    head, gave = after.open_head(), shipped.open_head()(pixels)
    assert head.shapes[gate.MAP] == head(pixels)[gate.MAP].shape == (19, 19, 48)
    assert all((head(pixels)[name] == gave[name]).all() for name in before.presets)
    assert give_map(after, "block3b_add").id == after.id
    with pytest.raises(DataError, match="no layer 'block9_add'"):
        give_map(after, "block9_add")


def test_pictures_without_skin_are_squares_things_and_pages(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 80, 3), np.uint8)).save(tmp_path / "ground.png")
    Image.fromarray(rng.integers(0, 256, (30, 80, 3), np.uint8)).save(tmp_path / "too-small.png")
    thing = np.zeros((60, 60, 4), np.uint8)
    thing[20:40, 20:40] = (0, 0, 255, 255)
    Image.fromarray(thing).save(tmp_path / "thing.png")
    pictures, things = without_skin.opened(tmp_path, 64)
    assert [p.size for p in pictures] == [(80, 90)]
    assert [(t.size, t.mode) for t in things] == [((60, 60), "RGBA")]
    squares = list(without_skin.squares(pictures, rng, 32))
    grounded = list(without_skin.on_grounds(things, [], rng, 32))
    pages = list(islice(without_skin.pages(rng, 32), 5))
    assert (len(squares), len(grounded)) == (without_skin.SQUARES, without_skin.GROUNDS)
    assert {(p.shape, p.dtype) for p in (*squares, *grounded, *pages)} == {((32, 32, 3), np.dtype(np.uint8))}
    blue = [((g[..., 2] > 200) & (g[..., 0] < 60)).mean() for g in grounded[:-1]]
    assert all(share > 0 for share in blue), "the thing is there"
    tinted = np.stack([without_skin.tinted(squares[0], np.random.default_rng(n)) for n in range(20)])
    means = tinted.mean((0, 1, 2))
    assert means[0] > means[1] > means[2], "redder than green, greener than blue"


def test_a_gate_learns_photos_as_a_device_turns_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all versions, and pictures without skin, too."""
    monkeypatch.setattr(samples, "FITTED", {"isic": 2})
    monkeypatch.setattr(samples, "PLAIN", {"isic": 5})
    for name in ("_drawn", "_without_skin"):
        monkeypatch.setattr(samples, name, lambda *_: ())
    turned = Image.Exif()
    turned[0x0112] = 6  # a phone that was held upright
    found = []
    for folder in (tmp_path / "upright", tmp_path / "turned"):
        draw_isic(folder)
        for path in (folder / "images").iterdir():
            picture = Image.open(path).convert("RGB")
            if folder.name == "upright":
                picture.save(path, "PNG")
            else:
                picture.rotate(90, expand=True).save(path, "PNG", exif=turned)
        made = list(samples.pictures(Dataset.read(folder, tmp_path / "pixels"), 32, "centre square", None))
        assert {(p.what, p.side) for p in made} >= {("ok", "train"), ("ok", "val"), *((h, "train") for h in HARMS)}
        found.append([p.pixels for p in made] + [np.asarray(p) for p in without_skin.opened(folder, 32)[0]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("framing", ["centre square", "lesion"])
def test_a_gate_learns_the_squares_that_devices_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framing: Framing
) -> None:
    far = np.full((200, 200, 3), (214, 172, 148), np.uint8)
    far[90:110, 90:110] = (120, 74, 60)
    monkeypatch.setattr(samples, "_whole", lambda *_: iter([samples.Picture(far, "ok", "isic", "train")]))
    (made,) = samples.pictures(Dataset(tmp_path, {}, tmp_path), 32, framing, None)
    assert (made.pixels == load_photo(far, 32, framing)).all()
    assert ((made.pixels.mean(-1) < 130).mean() > 0.1) == (framing == "lesion")


def test_examples_are_made_again_where_a_picture_was_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_isic(tmp_path / "data")
    (tmp_path / "others").mkdir()
    made: list[int] = []
    monkeypatch.setattr(samples, "extract", lambda *_: made.append(1) or examples()[0])

    def told(others: Path | None) -> int:
        data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
        fitting.examples_of(Bundle.load(), data, others, tmp_path / "cache", None)
        return len(made)

    others = tmp_path / "others"
    assert [told(None), told(None), told(others), told(others)] == [1, 1, 1, 1]  # there is nothing in it yet
    for number, folder in enumerate((others, others, tmp_path / "data" / "images"), 2):
        file = next(folder.glob("*.jpg"), folder / "wall.jpg")
        Image.fromarray(draw_lesion(number, 60 + number)).save(file)
        assert [told(others), told(others)] == [number, number]


def test_writing_it_leaves_the_rest_of_the_bundle_unchanged(
    fitted: tuple[gate.Gate, samples.Examples], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle"))
    before = Bundle.load(folder)
    learned = {"dermoscopy": KindOfPhoto(learned=True), "phone": KindOfPhoto(learned=True)}
    fitting.write(before, fitted[0], learned, {"command": "a test"})
    after = Bundle.load(folder)
    assert after.id == before.id
    assert after.manifest.gate is not None
    assert after.manifest.gate.kinds == learned
    assert after.manifest.provenance["gate"] == {"command": "a test"}
    written = json.loads((folder / gate.FILE).read_text())
    assert gate.to_json(gate.parse((folder / gate.FILE).read_bytes())) == written


def test_the_gate_of_a_preset_is_written_beside_the_common_one(
    fitted: tuple[gate.Gate, samples.Examples], tmp_path: Path
) -> None:
    before = write_guarded_bundle(tmp_path / "bundle")
    kinds = {"dermoscopy": KindOfPhoto(learned=True), "phone": KindOfPhoto(learned=False, photos=3)}
    fitting.write(before, fitted[0], kinds, {"command": "a test"}, is_guarded=True)
    after = Bundle.load(before.folder)
    assert (after.id, after.manifest.gate) == (before.id, before.manifest.gate)
    assert after.manifest.gate_of("guarded").kinds == kinds  # type: ignore[union-attr]
    assert after.manifest.provenance["guarded_gate"] == {"command": "a test"}
    assert gate.parse((before.folder / GATE).read_bytes()).classes == fitted[0].classes


def test_a_gate_of_a_preset_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle"))
    manifest = Bundle.load().manifest
    presets = {name: preset for name, preset in manifest.presets.items() if name != "guarded"}
    replace(manifest, presets=presets, guarded=None).write(folder)
    arguments = ["fit", "--data", str(tmp_path), "--model", str(folder), "--preset", "guarded"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(DataError, match="has no preset guarded"):
        fitting.main()


def photo(source: str, lesion: str, kind: Kind = "dermoscopy") -> Photo:
    return Photo(Path(f"{source}-{lesion}.jpg"), malignant=False, lesion=lesion, source=source, kind=kind)


def test_phone_photos_for_testing_are_apart_from_those_that_a_network_may_have_learned() -> None:
    found = {
        "train": [photo("phone/0", "P1", "phone"), photo("ham10000", "L1")],
        "test": [photo("smartphone", "P2", "phone"), photo("ham10000", "L2")],
    }
    data = cast("Dataset", SimpleNamespace(photos=found))
    assert [p.lesion for p in fitting._phone_photos(data)] == ["P1"]
    assert [p.lesion for p in fitting._phone_photos(data, for_testing=True)] == ["P2"]


def test_no_lesion_is_on_two_sides() -> None:
    patients = [photo(f"phone/{fold_of(f'P{n}')}", f"P{n}", "phone") for n in range(50)]
    archive = [photo("komour", f"I{n}") for n in range(50)]
    sides = samples.split_by_group(
        {
            "train": [photo("ham10000", "L1"), *patients, *archive],
            "val": [photo("ham10000", "L2")],
            "test": [photo("ham10000", "L3"), photo("smartphone", "P99", "phone")],
        }
    )
    lesions = {side: {p.lesion for photos in groups.values() for p in photos} for side, groups in sides.items()}
    assert not lesions["train"] & lesions["val"]
    assert not (lesions["train"] | lesions["val"]) & lesions["test"]
    assert sum(map(len, lesions.values())) == 104
    assert {"L3", "P99"} <= lesions["test"]
    assert all(set(groups) == {"ham10000", "isic", "phone"} for groups in sides.values())


def test_textures_of_every_family_are_the_same_for_the_same_seed() -> None:
    for seed in range(textures.FAMILIES):
        drawn = textures.draw_texture(seed, 40)
        assert (drawn.shape, drawn.dtype) == ((40, 40, 3), np.uint8)
        assert (drawn == textures.draw_texture(seed, 40)).all()
