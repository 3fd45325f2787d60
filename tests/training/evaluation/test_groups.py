"""Figures by source, kind, skin tone, age and sex: who is in which group, and what is said of few."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skimage")

from securesplit.model import Bundle
from tests.training.drawn_photos import HAM, PHONE, SMARTPHONE, draw_collection, write_source
from training.data.collection import fold_of
from training.data.dataset import Dataset
from training.data.photo import SPLITS, Photo
from training.evaluation import deployed, groups
from training.evaluation.groups import Answered


def found() -> Answered:
    """60 photos through a dermatoscope, answered well, then 40 by phone, answered by lot."""
    rng = np.random.default_rng(1)
    photos = tuple(
        Photo(
            Path(f"{n}.jpg"),
            malignant=n % 2 == 0,
            lesion=str(n),
            dx_type="histo" if n % 3 == 0 else "",
            age="70" if n % 4 < 2 else "30",
            sex="female",
            source="ham10000" if n < 60 else f"phone/{n % 5}",
            kind="dermoscopy" if n < 60 else "phone",
        )
        for n in range(100)
    )
    malignant = np.array([p.malignant for p in photos])
    probability = np.where(np.arange(100) < 60, 0.6 * malignant + 0.4 * rng.random(100), rng.random(100))
    skin = np.where(np.arange(100) < 50, 55.0, 10.0)  # each the least of its tone
    return Answered(photos, probability, probability >= 0.5, skin, rng.random(100))


def test_groups_hold_their_photos_and_few_have_no_figures() -> None:
    rows = {row.group: row for row in groups.measure(found(), 20)}
    assert {name: rows[name].photos for name in ("source: ham10000", "source: phone", "phone: all")} == {
        "source: ham10000": 60,
        "source: phone": 40,
        "phone: all": 40,
    }
    assert rows["dermoscopy: histopathology-confirmed"].photos == 20
    assert (rows["dermoscopy, skin: very light"].photos, rows["dermoscopy, skin: tan"].photos) == (50, 10)
    assert "dermoscopy, skin: dark" not in rows
    assert rows["dermoscopy, skin: tan"].auc is None, "five malignant photos are too few"
    assert "–" in rows["dermoscopy, skin: tan"].cells()
    assert rows["dermoscopy, age: below 40"].photos + rows["dermoscopy, age: 60 and over"].photos == 60
    assert sum(row.photos for name, row in rows.items() if name.startswith("phone, skin")) == 40


def test_figures_are_those_of_the_group_alone() -> None:
    rows = {row.group: row for row in groups.measure(found(), 20)}
    good, lot = rows["dermoscopy: all"], rows["phone: all"]
    assert good.auc is not None
    assert lot.auc is not None
    assert good.auc[0] == 1.0
    assert lot.auc[1] < 0.5 < lot.auc[2]
    assert (good.sensitivity, good.specificity) == (1.0, 1.0)
    assert good.ece is not None
    assert good.ece < 0.25
    assert groups.table([good]).count("\n") == 2


def test_a_shifted_answer_counts_in_its_group() -> None:
    shown = found()
    never = replace(shown, called=np.zeros(100, bool))
    assert {row.sensitivity for row in groups.measure(never, 2) if row.auc} == {0.0}


def test_three_photos_of_each_lesion_say_no_more_than_one() -> None:
    def row_of(times: int) -> groups.GroupRow:
        shown = found()
        columns = {name: np.tile(getattr(shown, name), times) for name in ("probability", "called", "skin", "colours")}
        rows = groups.measure(replace(shown, photos=shown.photos * times, **columns), 50)
        return next(row for row in rows if row.group == "phone: all")

    assert row_of(3).auc == pytest.approx(row_of(1).auc)


def test_photos_are_read_by_their_kind_and_answered_by_what_did_not_learn_them(tmp_path: Path) -> None:
    """Premalignant ones are left out, and those that the fold learned, too."""
    rows = [f"H{split}{dx},{split},x,{dx},L{split}{dx},G,histo,50,F,back" for split in SPLITS for dx in ("nv", "mel")]
    write_source(tmp_path, "ham10000", HAM, rows)
    of_patient = "benign,NEV,PAT_{0},{0},True,,61,MALE,ARM,l,r,p"
    premalignant = "PX.jpg,actinic_keratosis,ACK,PAT_0,9,True,,61,MALE,ARM,l,r,p"
    write_source(tmp_path, "phone", PHONE, [*(f"P{n}.jpg,{of_patient.format(n)}" for n in range(8)), premalignant])
    smartphone = ["S1.jpg,benign,NEV", "SX.jpg,actinic_keratosis,ACK"]
    write_source(tmp_path, "smartphone", SMARTPHONE, [f"{row},False,PAT_900,1,40,FEMALE,,ARM" for row in smartphone])
    bundle, data = Bundle.load(), Dataset.read(tmp_path, tmp_path / "pixels")
    held_out = f"phone/{fold_of('PAT_0')}"
    fold = Bundle(bundle.folder, replace(bundle.manifest, provenance={"held_out": [held_out]}))
    shown = groups.answered(bundle, "none", [fold], data)
    folded = [f"P{n}.jpg" for n in range(8) if f"phone/{fold_of(f'PAT_{n}')}" == held_out]
    assert [photo.path.name for photo in shown.photos] == ["Htestnv.jpg", "Htestmel.jpg", "S1.jpg", *folded]
    preset, gate = bundle.presets["none"], bundle.manifest.gate
    assert gate is not None
    split = data.decoded(shown.photos, bundle.manifest.side)
    logits = deployed.noise_free_logits(bundle, "none", deployed.embed(bundle, split)["none"])
    read = [gate.kinds["phone"].read(preset) if photo.kind == "phone" else preset for photo in shown.photos]
    wanted = [one.calibration.probability(float(logit)) for one, logit in zip(read, logits, strict=True)]
    assert shown.probability == pytest.approx(wanted, abs=1e-5)
    assert wanted != pytest.approx([preset.calibration.probability(float(logit)) for logit in logits], abs=1e-3)
    assert shown.called.tolist() == [p >= one.threshold for p, one in zip(wanted, read, strict=True)]


def test_the_command_shows_test_photos_alone_where_no_fold_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_collection(tmp_path / "data")
    arguments = ["--data", tmp_path / "data", "--cache", tmp_path / "pixels", "--json", tmp_path / "groups.json"]
    monkeypatch.setattr(sys, "argv", ["groups", *map(str, arguments)])
    groups.main()
    table = capsys.readouterr().out
    assert "| source: ham10000 | 2 | 1 | – |" in table
    assert "| source: smartphone | 1 | 0 |" in table
    assert "komour" not in table
    assert {row["group"] for row in json.loads((tmp_path / "groups.json").read_text())} >= {"phone: all"}
