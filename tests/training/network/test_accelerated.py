"""Photos in one file, and training within seconds on JAX, with a tiny backbone."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securesplit.errors import ConfigError
from tests.training.drawn_photos import draw_collection
from training.data import dataset, pack
from training.data.pack import PackedPhotos
from training.data.photo import DataError
from training.network.config import Config, named

SIDE = 48


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw_collection(tmp_path / "data")
    to = tmp_path / "photos.npz"
    monkeypatch.setattr(sys, "argv", [*f"pack --data {tmp_path}/data --side {SIDE} --out {to}".split()])
    pack.main()
    return to


def test_another_backend_is_told_of_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerated = pytest.importorskip("training.network.accelerated", reason="Keras is not installed")
    monkeypatch.setattr(sys, "argv", ["accelerated", "--photos", "none.npz", "--seconds", "9", "--out", "none"])
    monkeypatch.setattr(accelerated.keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(ConfigError, match="Keras runs on tensorflow") as caught:
        accelerated.main()
    assert "KERAS_BACKEND=jax" in caught.value.hint


def test_a_pack_holds_every_photo_but_those_for_testing(tmp_path: Path, packed: Path) -> None:
    listed = dataset.list_photos(tmp_path / "data")
    for split in ("train", "val"):
        photos = PackedPhotos.load(packed, split)
        loaded = dataset.load_split(listed[split], height=SIDE, width=SIDE * 4 // 3, cache=tmp_path / "pixels")
        arrays = photos.arrays(split)
        assert set(arrays.pop(f"{split}_framing")) == {"centre square"}
        for name, values in arrays.items():
            assert (values == getattr(loaded, name.removeprefix(f"{split}_"))).all(), name
    with pytest.raises(DataError, match="cannot read"):
        PackedPhotos.load(packed, "test")


def test_a_pack_of_other_squares_than_the_network_sees_is_refused(packed: Path) -> None:
    photos = PackedPhotos.load(packed, "train")
    photos.check_seen(SIDE, "centre square")
    with pytest.raises(ConfigError, match="packed for another framing than lesion"):
        photos.check_seen(SIDE, "lesion")
    with pytest.raises(ConfigError, match=f"{SIDE} pixels high, not 150"):
        photos.check_seen(150, "centre square")


def test_a_file_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("photos")
    (tmp_path / "cut").write_bytes(b"PK\3\4 and no more")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for file in ("empty", "text", "cut", "array.npy", "none", "."):
        with pytest.raises(DataError, match="cannot read") as caught:
            PackedPhotos.load(tmp_path / file, "train")
        assert "training.data.pack" in caught.value.hint


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_ends_in_time_and_measures_what_it_held_out(tmp_path: Path, packed: Path) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    from tests.training import tiny  # the backbone
    from training.network.model import build_model
    from training.network.weights_npz import load_weights_npz, save_weights_npz

    before = build_model(Config("tiny", side=SIDE, outputs="auxiliary", batch_norm="frozen"))
    start = tmp_path / "start.npz"
    save_weights_npz(before, start)
    settings = ("backbone=tiny", f"side={SIDE}", "batch=4", "learning_rate=0.003", "hold_out=komour", "teacher_share=1")
    command = ["--photos", packed]
    command += [part for setting in settings for part in ("--set", setting)]
    command += ["--start", start, "--start", start, "--teacher", f"tiny:{start}", "--hint", 0.5]
    command += ["--precision", "float32"]
    began = time.monotonic()
    tiny.run_on_jax("training.network.accelerated", *command, "--seconds", 1, "--out", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["steps"] == 8, "whatever compiling took, it trained"
    assert record["setup_s"] < time.monotonic() - began
    photos = PackedPhotos.load(packed, "train")
    held = photos.only(photos.source == "komour")
    with np.load(tmp_path / "run" / "answers.npz") as answers:
        assert answers["source"].tolist() == [*PackedPhotos.load(packed, "val").source, *held.source]
        logits = answers["logits"]
    after = build_model(Config("tiny", side=SIDE, outputs="auxiliary", batch_norm="frozen"))
    load_weights_npz(after, tmp_path / "run" / "network.npz")
    squares = PackedPhotos.load(packed, "val").joined(held).squares()
    assert logits == pytest.approx(after.predict(squares, verbose=0)["malignant"][:, 0], abs=0.05), "float16 on disk"
    assert any((a != b).any() for a, b in zip(before.get_weights(), after.get_weights(), strict=True))


def test_the_rate_warms_up_and_held_out_photos_are_not_drawn(packed: Path) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    from training.network import accelerated, compiled

    now = time.monotonic()
    rates = [compiled.TrainingClock(now - passed, 100.0).rate(1.0) for passed in (0, 2.5, 5, 50, 100, 200)]
    assert rates == pytest.approx([0.05, 0.5, 1.0, 0.54, 0.01, 0.01], abs=0.02)
    photos = PackedPhotos.load(packed, "train")
    held, isic9 = photos.source == "komour", photos.source == "isic9"
    config = named("collection", ["batch=4", "phone_repeat=3"])
    drawn = accelerated.rows_of(photos, config, held)
    rows = np.concatenate([next(drawn).ravel() for _ in range(21)])
    assert not held[rows].any()
    counts = np.bincount(rows, minlength=len(held))
    assert counts[photos.is_phone].mean() == pytest.approx(3 * counts[~photos.is_phone & ~held].mean(), rel=0.1)
    assert (accelerated._held(photos, named("collection", ["hold_out=komour, isic9"])) == held | isic9).all()
    alone = replace(photos, source=np.full(len(held), ""))  # as of a folder that is no collection
    assert not accelerated._held(alone, config).any()
    with pytest.raises(ConfigError, match="no training photo is of kumour") as caught:
        accelerated._held(photos, named("collection", ["hold_out=kumour"]))
    assert "komour" in caught.value.hint
    with pytest.raises(ConfigError, match="all of one class"):
        accelerated._held(alone.only(alone.malignant > 0), config)
    with pytest.raises(ConfigError, match="48 pixels high, not 150"):
        accelerated.train(config, {"train": photos, "val": photos}, Path(), compiled.TrainingClock(now, 1))
    small = named("collection", [f"side={SIDE}"])
    with pytest.raises(ConfigError, match="a hint needs a teacher"):
        accelerated.train(small, {"train": photos, "val": photos}, Path(), compiled.TrainingClock(now, 1), hint=0.5)
    with pytest.raises(ConfigError, match="the hint weighs -1"):
        accelerated.train(
            *(small, {"train": photos, "val": photos}, Path(), compiled.TrainingClock(now, 1)),
            teachers=[("efficientnetv2b0", Path("none"))],
            hint=-1,
        )
    for given in ("efficientnetv2b0", ":one.npz", "efficientnetv2b0:"):
        with pytest.raises(ConfigError, match="is not BACKBONE:NPZ"):
            accelerated._named_teacher(given)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_hint_draws_features_to_the_teachers(tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    from tests.training import tiny

    tiny.run_on_jax("tests.training.network.hinted", tmp_path / "told.json")
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["alike"] == pytest.approx(0, abs=1e-3), "a map that gives the teacher's own features is not far"
    assert told["far"] > 0.5
    assert told["with"] == pytest.approx(told["without"] + 0.5 * told["far"], rel=1e-4)
