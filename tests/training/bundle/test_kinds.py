"""Answers to phone photos by cross-validation: each photo by a fold that did not learn it, on the bundle's scale."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
from PIL import Image

from securesplit.imaging import load_photo
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, Calibration, encrypted_preset
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.results import Framing
from tests.training.drawn_photos import HAM, PHONE, write_source
from training.bundle import calibrate, kinds
from training.data.collection import FOLDS
from training.data.dataset import Dataset, Split, centre_square
from training.data.photo import DataError, Photo
from training.evaluation import calibration, deployed, metrics
from training.evaluation.out_of_fold import OutOfFold

PATIENTS = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("collection")
    write_source(root, "ham10000", HAM, ["H,train,x,nv,L,G,histo,50,female,back"])
    shown = [("benign", "NEV"), ("malignant", "BCC")]
    rows = [
        f"P{n}.jpg,{shown[n % 2][0]},{shown[n % 2][1]},PAT_{n},{n},True,,61,MALE,ARM,l,r,p" for n in range(PATIENTS)
    ]
    write_source(
        root, "phone", PHONE, [*rows, f"P{PATIENTS}.jpg,actinic_keratosis,ACK,PAT_1,1,True,,61,MALE,ARM,l,r,p"]
    )
    for n in range(PATIENTS + 1):
        Image.fromarray(draw_lesion(n, 150)).save(root / "phone" / "images" / f"P{n}.jpg")
    return Dataset.read(root, root / "pixels")


def phone_photos(data: Dataset) -> list[Photo]:
    return [p for p in data.photos["train"] if p.kind == "phone" and not p.is_premalignant]


def holding_out(target: Path, sources: list[str], offset: float = 0.0) -> Bundle:
    """The shipped bundle, said to have held these sources out, with another calibration."""
    shutil.copytree(DEFAULT_FOLDER, target)
    manifest = Bundle.load(target).manifest
    presets = {
        name: replace(preset, calibration=Calibration(preset.calibration.scale, preset.calibration.offset + offset))
        for name, preset in manifest.presets.items()
    }
    found = replace(manifest, presets=presets, provenance={**manifest.provenance, "held_out": sources})
    found.write(target)
    return Bundle.load(target)


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    root = tmp_path_factory.mktemp("folds")
    rest = [f"phone/{n}" for n in range(2, FOLDS)]
    return [holding_out(root / "a", ["isic9", "phone/0", "phone/1"]), holding_out(root / "b", rest, offset=1.0)]


def test_every_photo_is_answered_by_a_fold_that_did_not_learn_it(folds: list[Bundle], data: Dataset) -> None:
    found = OutOfFold.of(folds, phone_photos(data), data)
    assert len(found.split.photos) == PATIENTS
    for fold, split in found.parts:
        assert {p.source for p in split.photos} <= set(fold.manifest.provenance["held_out"])
    first = OutOfFold.of(folds[:1], phone_photos(data), data)
    assert 0 < len(first.split.photos) < PATIENTS, "what every fold learned is left out"
    with pytest.raises(DataError, match="no photo that a fold held out"):
        OutOfFold.of([Bundle.load()], phone_photos(data), data)


@pytest.mark.parametrize("framing", ["centre square", "lesion"])
def test_a_fold_is_shown_the_squares_that_devices_show(folds: list[Bundle], tmp_path: Path, framing: Framing) -> None:
    far = Image.new("RGB", (800, 600), (214, 172, 148))
    far.paste(Image.fromarray(draw_lesion(1, 120)), (400, 300))
    far.save(tmp_path / "far.png")
    photo = Photo(tmp_path / "far.png", malignant=True, lesion="a", source="phone/0", kind="phone")
    fold = replace(folds[0], manifest=replace(folds[0].manifest, framing=framing))
    found = OutOfFold.of([fold], [photo], Dataset(tmp_path, {}, tmp_path / "pixels"))
    shown = centre_square(found.split.pixels)[0].astype(int)
    assert np.abs(shown - load_photo(photo.path, fold.manifest.side, framing)).max() <= 8
    other: Framing = "lesion" if framing == "centre square" else "centre square"
    assert np.abs(shown - load_photo(photo.path, fold.manifest.side, other)).max() > 50


def test_answers_of_the_folds_are_on_the_scale_of_the_bundle(folds: list[Bundle], data: Dataset) -> None:
    """All halves are the same here, so a fold's own probability is what tells its answers from the bundle's."""
    bundle, found = Bundle.load(), OutOfFold.of(folds, phone_photos(data), data)
    own = {name: deployed.noise_free_logits(bundle, name, found.embeddings[name]) for name in ("none", "certified")}
    by_second = np.array([p.source not in {"phone/0", "phone/1"} for p in found.split.photos])
    scale = bundle.presets["none"].calibration.scale
    assert by_second.any()
    assert found.noise_free(bundle, "none") == pytest.approx(own["none"] + by_second / scale, abs=1e-4)
    assert (found.noise_free(bundle, "certified") == own["certified"]).all(), "levels mean the same in every fold"


def test_an_encrypted_preset_is_read_by_the_answers_of_none(folds: list[Bundle], data: Dataset) -> None:
    shipped = Bundle.load()
    preset = replace(shipped.presets["none"], spec=encrypted_preset.release_spec(), calibration=Calibration(2.0, 1.0))
    presets = {"none": shipped.presets["none"], "encrypted": preset}
    bundle = Bundle(shipped.folder, replace(shipped.manifest, presets=presets))
    without = OutOfFold.of(folds, phone_photos(data), data)
    found = replace(without, embeddings={n: e for n, e in without.embeddings.items() if n != "encrypted"})
    assert found.asked(bundle, "encrypted") == "none"
    of_none = found.noise_free(bundle, "none")
    theirs = bundle.presets["none"].calibration
    wanted = (theirs.scale * of_none + theirs.offset - 1.0) / 2.0
    assert found.noise_free(bundle, "encrypted") == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(DataError, match="no preset compact"):
        replace(found, embeddings={"none": found.embeddings["none"]}).asked(shipped, "compact")


def test_the_manifest_gets_answers_of_every_preset_and_noise(
    folds: list[Bundle], data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "MORE_NOISE", (0.25, 1.0))
    monkeypatch.setattr(deployed, "DRAWS", 2)
    monkeypatch.setattr(calibration, "REFITS", 20)
    bundle = Bundle.load(Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle")))
    learned, low = kinds.learned_phone(bundle, folds, data)
    kinds.write(bundle, learned, {"command": "a test"})
    after = Bundle.load(bundle.folder)
    assert after.manifest.gate is not None
    phone = after.manifest.gate.kinds["phone"]
    assert after.identity == bundle.identity
    assert (phone.learned, phone.photos) == (True, PATIENTS)
    assert set(low) == set(phone.answers)
    assert phone.never_low == learned.never_low
    assert set(phone.never_low) >= {name for name, found in low.items() if found["low"] == 0}
    assert {"none", "compact", "certified"} <= set(phone.answers)
    assert [len(phone.answers[name]) for name in ("none", "certified")] == [1, 3]
    counted = {name: bool(own.calibration.knots) for name, (own, *_) in phone.answers.items()}
    assert counted == {"none": False, "compact": False, "certified": True, "encrypted": False}
    for own, *_ in phone.answers.values():
        assert {"auc", "sensitivity", "specificity", "ece"} <= set(own.quality[kinds.SPLIT])
        assert own.spread is not None
    assert after.manifest.provenance["phone"] == {"command": "a test"}


def test_calibration_error_is_of_folds_that_it_was_not_fitted_on() -> None:
    """A fold of other patients than the rest shows it; fitted to all, the calibration would know them."""

    def ece(odd_fold: float) -> float:
        rng = np.random.default_rng(1)
        chances = [odd_fold if n % 5 == 0 else 0.1 for n in range(400)]
        photos = tuple(
            Photo(Path(str(n)), malignant=bool(rng.random() < chance), lesion=str(n), source=f"phone/{n % 5}")
            for n, chance in enumerate(chances)
        )
        logits = rng.normal(size=len(photos)).astype(np.float32)
        split = Split(photos, np.zeros((len(photos), 1, 1, 3), np.uint8))
        return kinds.cross_fitted(Bundle.load().presets["none"].spec, logits, logits, split)[0]["ece"]

    assert ece(0.1) < 0.06
    assert ece(0.9) > 0.3


def test_thresholds_of_phone_photos_are_assured_over_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three photos each; the surer, the more of the malignant ones are called so."""
    monkeypatch.setattr(calibration, "REFITS", 50)
    rng = np.random.default_rng(3)
    photos = tuple(
        Photo(Path(str(n)), malignant=n % 2 == 0, lesion=str(n // 3), source=f"phone/{n // 3 % 5}") for n in range(300)
    )
    split = Split(photos, np.zeros((300, 1, 1, 3), np.uint8))
    logits = (rng.normal(size=300) + 2 * split.malignant).astype(np.float32)

    def sensitivity(assurance: float) -> float:
        monkeypatch.setattr(calibration, "ASSURANCE", assurance)
        return kinds.cross_fitted(Bundle.load().presets["none"].spec, logits, logits, split)[0]["sensitivity"]

    assert sensitivity(0.5) < sensitivity(0.95)


def test_thresholds_of_a_fold_are_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Malignant photos of one fold look harmless, and are missed as they would be in a clinic that nobody knew."""
    monkeypatch.setattr(calibration, "REFITS", 20)
    photos = tuple(
        Photo(Path(str(n)), malignant=n % 2 == 0, lesion=str(n), source=f"phone/{n // 2 % 5}") for n in range(200)
    )
    split = Split(photos, np.zeros((200, 1, 1, 3), np.uint8))
    looks_harmless = split.malignant.astype(bool) & (split.source == "phone/0")
    logits = np.random.default_rng(4).normal(size=200) + 3 * split.malignant - 8 * looks_harmless
    figures, _ = kinds.cross_fitted(Bundle.load().presets["none"].spec, logits, logits, split)
    assert figures["sensitivity"] < 0.85 < kinds.SENSITIVITY


def test_what_is_low_lies_below_the_threshold_with_its_whole_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "REFITS", 20)
    rng = np.random.default_rng(5)
    photos = tuple(
        Photo(Path(str(n)), malignant=n % 2 == 0, lesion=str(n), source=f"phone/{n // 2 % 5}") for n in range(100)
    )
    split = Split(photos, np.zeros((100, 1, 1, 3), np.uint8))
    logits = (rng.normal(size=100) + 2 * split.malignant).astype(np.float32)

    def low(*ends: float) -> int:
        monkeypatch.setattr(calibration, "ENDS", ends)
        return int(kinds.cross_fitted(Bundle.load().presets["none"].spec, logits, logits, split)[1].sum())

    assert low(0.0, 1.0) < low(0.5, 0.5)
    monkeypatch.setattr(metrics, "expected_calibration_error", lambda *_: 0.99)
    assert low(0.5, 0.5) == 0, "nor where the calibration is off by more"


def test_nothing_is_low_where_too_many_of_the_low_ones_are_malignant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the half that looks benign, some share is malignant."""
    monkeypatch.setattr(calibration, "REFITS", 20)

    def low(share: float) -> kinds.Read:
        rng = np.random.default_rng(2)
        shown = [pair for _ in range(200) for pair in ((-3.0, rng.random() < share), (3.0, True))]
        photos = tuple(
            Photo(Path(str(n)), malignant=bool(is_malignant), lesion=str(n), source=f"phone/{n % 5}")
            for n, (_, is_malignant) in enumerate(shown)
        )
        logits = np.array([logit for logit, _ in shown], np.float32)
        split = Split(photos, np.zeros((len(photos), 1, 1, 3), np.uint8))
        _, found = kinds.cross_fitted(Bundle.load().presets["none"].spec, logits, logits, split)
        return kinds.Read((), found, split.malignant.astype(bool))

    right, wrong = low(0.0), low(0.08)
    assert right.may_be_low
    assert right.low_figures["low"] > 0.3
    assert wrong.low_figures["malignant_of_low"] > kinds.MOST_MALIGNANT
    assert not wrong.may_be_low
    assert not kinds.Read((), np.zeros(3, bool), np.zeros(3, bool)).may_be_low, "none is low, so nothing tells"


def test_a_bundle_without_a_gate_has_no_kinds(tmp_path: Path) -> None:
    bundle = Bundle.load()
    with pytest.raises(DataError, match="no gate"):
        kinds.write(replace(bundle, manifest=replace(bundle.manifest, gate=None)), kinds.KindOfPhoto(learned=True), {})
