"""What `training.bundle.from_run` makes of a run, and what it refuses before a training rather than behind it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
from PIL import Image

from securesplit.device.release_step import Releaser
from securesplit.errors import BundleError, ConfigError
from securesplit.imaging import load_square
from securesplit.model import Bundle, backbones
from securesplit.model.manifest import parse
from tests.training.drawn_photos import draw_collection, draw_tree
from training.bundle import calibrate, default, encrypted, from_run, guarded
from training.data.dataset import Dataset
from training.data.photo import DataError
from training.network import run_record, train
from training.network.config import Config
from training.network.model import build_model

pytestmark = [pytest.mark.filterwarnings("ignore")]

CONFIG = Config("unnamed", side=32, batch_norm="frozen", epochs=1)


def build(*, include_top: bool, weights: None, input_tensor: Any) -> keras.Model:
    """A backbone whose layers Keras names, as most of those in ``keras.applications`` are."""
    x = keras.layers.Conv2D(6, 3, strides=4, activation="relu")(input_tensor)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.applications, "Unnamed", build, raising=False)
    monkeypatch.setitem(backbones.BACKBONES, "unnamed", backbones.Backbone("Unnamed", cut="conv2d"))


def run_of(folder: Path, config: Config, learned: Dataset) -> Path:
    """A run of one epoch that taught nothing."""
    folder.mkdir()
    build_model(config).save_weights(str(run_record.best_weights(folder)))
    run_record.write_best_epoch(folder, {"epoch": 1, "val_auc": 0.5})
    made_from: Any = {"config": config.to_json(), "data_sha256": learned.digest, "photos_sha256": learned.contents}
    run_record.RunRecord(folder, made_from, {}, 0).begin()
    return folder


@pytest.mark.slow
def test_a_run_that_held_sources_out_becomes_a_bundle_that_says_so(tmp_path: Path) -> None:
    """Split at a layer by the name that `securesplit cuts` gives it, whatever was built before in this process."""
    draw_collection(tmp_path / "data")
    data, config = Dataset.read(tmp_path / "data", tmp_path / "pixels"), replace(CONFIG, hold_out="komour, isic9")
    run = run_of(tmp_path / "run", config, data.holding_out(["komour", "isic9"]))
    assert build_model(CONFIG).layers[1].name != "conv2d"
    from_run.make_bundle(run, data, tmp_path / "bundle")
    manifest = Bundle.load(tmp_path / "bundle").manifest
    assert manifest.cut == "conv2d"
    assert manifest.provenance["held_out"] == ["komour", "isic9"]
    assert manifest.provenance["run_is"] == "running"
    assert set(manifest.presets["none"].quality) == {"parity", "validation", "test"}


@pytest.mark.slow
def test_a_network_of_squares_around_lesions_is_shown_and_measured_on_such(tmp_path: Path) -> None:
    draw_tree(tmp_path / "data")
    for path in (tmp_path / "data").rglob("*.png"):
        far = np.pad(np.asarray(Image.open(path)), ((90, 90), (90, 90), (0, 0)), mode="edge")
        Image.fromarray(far).save(path)
    data, config = Dataset.read(tmp_path / "data", tmp_path / "pixels"), replace(CONFIG, framing="lesion")
    from_run.make_bundle(run_of(tmp_path / "run", config, data), data, tmp_path / "bundle")
    bundle = Bundle.load(tmp_path / "bundle")
    assert bundle.manifest.framing == "lesion"
    photo = data.photos["test"][0].path
    shown = Releaser(bundle, b"s" * 32, privacy="none").load(photo).square
    assert (shown.pixels == load_square(photo, 32, "lesion").pixels).all()
    again = calibrate.measure(bundle, data, ["none"]).presets["none"].quality["test"]
    assert again == bundle.presets["none"].quality["test"]
    centred = calibrate.measure(
        replace(bundle, manifest=replace(bundle.manifest, framing="centre square")), data, ["none"]
    )
    assert centred.presets["none"].quality["test"] != again


def test_a_run_of_other_photos_or_without_an_epoch_is_refused(tmp_path: Path) -> None:
    draw_tree(tmp_path / "data")
    data, out = Dataset.read(tmp_path / "data", tmp_path / "pixels"), tmp_path / "bundle"
    with pytest.raises(ConfigError, match="no run in"):
        from_run.make_bundle(tmp_path / "run", data, out)
    run = run_of(tmp_path / "run", CONFIG, data)
    others = replace(data, photos={**data.photos, "test": data.photos["test"][1:]})
    with pytest.raises(ConfigError, match="was made from other photos"):
        from_run.make_bundle(run, others, out)
    file, another = (photo.path for photo in data.photos["train"][:2])
    before = file.read_bytes()
    file.write_bytes(another.read_bytes())
    with pytest.raises(ConfigError, match="was made from other photos"):
        from_run.make_bundle(run, Dataset.read(tmp_path / "data", tmp_path / "pixels"), out)
    file.write_bytes(before)
    weights = run_record.best_weights(run)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(ConfigError, match="does not fit: Unable to synchronously open file"):
        from_run.make_bundle(run, data, out)
    weights.write_bytes(whole)
    weights.with_suffix(".json").unlink()  # as if killed between the two
    with pytest.raises(ConfigError, match="has no finished epoch"):
        from_run.make_bundle(run, data, out)
    (run / run_record.FILE).write_text(json.dumps({"config": CONFIG.to_json()}))  # as of another command
    with pytest.raises(ConfigError, match=r"run\.json is of no run of training\.train") as caught:
        from_run.make_bundle(run, data, out)
    assert caught.value.hint
    assert not out.exists()


def test_a_network_that_learned_nothing_is_told_what_helps_a_training(tmp_path: Path) -> None:
    """Not options of `securesplit split`."""
    draw_tree(tmp_path / "data")
    data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
    run = run_of(tmp_path / "run", CONFIG, data)
    network = build_model(CONFIG)
    network.set_weights([np.zeros_like(weight) for weight in network.get_weights()])
    network.save_weights(str(run_record.best_weights(run)))
    with pytest.raises(BundleError, match="is the same for all") as caught:
        from_run.make_bundle(run, data, tmp_path / "bundle")
    assert "train longer" in caught.value.hint
    assert "--pixels" not in caught.value.hint
    assert not (tmp_path / "bundle").exists()


def test_one_class_is_not_trained_on(tmp_path: Path) -> None:
    """Also where the few photos that a configuration wants happen to be of one."""
    draw_tree(tmp_path / "data")
    data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
    with pytest.raises(DataError, match=r"photo is in (train|val)"):
        train.shown(replace(CONFIG, photos=1), data, 32)
    alone = replace(data, photos={**data.photos, "val": [p for p in data.photos["val"] if p.malignant]})
    with pytest.raises(DataError, match="no benign photo is in val"):
        train.arranged(CONFIG, alone)


def test_the_mean_over_sources_is_no_figure_where_there_are_none(tmp_path: Path) -> None:
    draw_tree(tmp_path / "data")
    data, config = Dataset.read(tmp_path / "data", tmp_path / "pixels"), replace(CONFIG, monitor="mean_auc")
    with pytest.raises(ConfigError, match="monitor=mean_auc") as caught:
        train.arranged(config, data)
    assert "--set monitor=auc" in caught.value.hint
    draw_collection(tmp_path / "several")
    several = Dataset.read(tmp_path / "several", tmp_path / "pixels")
    assert train.arranged(config, several).digest == several.digest
    apart = [replace(photo, source=f"phone/{int(photo.malignant)}") for photo in data.photos["val"]]
    folds = replace(data, photos={**data.photos, "val": apart})  # which count as one source
    assert train.arranged(config, folds).digest == data.digest
    apart = [replace(photo, source=f"clinic {photo.malignant}") for photo in data.photos["val"]]
    with pytest.raises(ConfigError, match="has both classes"):
        train.arranged(config, replace(data, photos={**data.photos, "val": apart}))


def test_a_bundle_of_presets_says_what_it_was_made_of(tmp_path: Path) -> None:
    draw_tree(tmp_path / "clinic")
    data, run = Dataset.read(tmp_path / "clinic", tmp_path / "pixels"), tmp_path / "run"
    run_record.write_best_epoch(run_of(run, CONFIG, data), {"epoch": 1})

    def told(*given: str) -> Any:
        args = default.arguments().parse_args(["--run", str(run), *given])
        return default.provenance(run, data, {}, default.start_weights(args))

    assert told()["data"] == "4 training photos of the folder clinic, split by lesion"
    starts = [told(*given)["start_weights"] for given in ((), ("--weights", "b0.h5"), ("--reuse-stage-1",))]
    assert starts == ["random", "keras.applications ImageNet weights of the backbone: b0.h5", "those of the run run"]


@pytest.mark.parametrize(
    ("folder", "backbone", "named", "licence"),
    [
        ("ham10000", "efficientnetv2b0", "efficientnetv2b0-ham10000", default.LICENCE),
        ("ham10000", "mobilenet_v2", "mobilenet_v2-ham10000", "not stated"),
        ("피부과 \n", "efficientnetv2b0", "efficientnetv2b0-피부과 \\x0a", "not stated"),
    ],
)
def test_a_bundle_of_presets_is_named_after_its_photos(
    folder: str, backbone: str, named: str, licence: str, tmp_path: Path
) -> None:
    """No licence of the shipped network is claimed for weights of other photos, or of another start."""
    draw_tree(tmp_path / folder)
    for half in ("head.tflite", "tail.tflite"):
        (tmp_path / half).touch()
    data = Dataset.read(tmp_path / folder, tmp_path / "pixels")
    specs = {"certified": Bundle.load().presets["certified"].spec}
    manifest = default.first_manifest(tmp_path, backbone, specs, {}, data)
    assert (manifest.name, manifest.licence) == (named, licence)
    parsed = parse(manifest.to_text().encode())
    assert parsed.name == named


@pytest.mark.parametrize("lacking", [("val", "malignant"), ("test", "benign")])
def test_splits_of_one_class_are_refused_before_the_training(tmp_path: Path, lacking: tuple[str, str]) -> None:
    draw_tree(tmp_path / "data")
    split, label = lacking
    for photo in (tmp_path / "data" / split / label).iterdir():
        photo.unlink()
    data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
    with pytest.raises(DataError, match=f"no {label} photo is in {split}"):
        from_run.check(CONFIG, data, tmp_path / "bundle", at=None, licence="CC0")
    run, out = tmp_path / "run", tmp_path / "bundle"
    for make in (
        lambda: default.build(default.arguments().parse_args(["--run", str(run), "--out", str(out)]), data),
        lambda: encrypted.make(Bundle.load(), data, run, epochs=1, views=1, seed=1),
        lambda: guarded.make(Bundle.load(), guarded.Trained(run, "lesion", "", 1, 1, 0, 0.3, {}), data, out),
    ):
        with pytest.raises(DataError, match=f"no {label} photo is in {split}"):
            make()
    assert not run.exists()


def test_what_no_bundle_could_be_is_refused_before_the_training(tmp_path: Path) -> None:
    draw_tree(tmp_path / "data")
    data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
    with pytest.raises(ConfigError, match="is not empty"):
        from_run.check(CONFIG, data, tmp_path / "data", at=None, licence="CC0")
    with pytest.raises(ConfigError, match="cannot write"):
        from_run.check(CONFIG, data, tmp_path / "data" / "train" / "benign" / "m1.png", at=None, licence="CC0")
    with pytest.raises(ConfigError, match=r"cannot write .*Not a directory"):
        from_run.check(CONFIG, data, tmp_path / "data/train/benign/m1.png/new/bundle", at=None, licence="CC0")
    with pytest.raises(ConfigError, match="such a bundle could not be read"):
        from_run.check(CONFIG, data, tmp_path / "bundle", at=None, licence="\ud800")
    assert from_run.check(CONFIG, data, tmp_path / "bundle", at=None, licence="CC0") == "conv2d"
    assert from_run.check(CONFIG, data, tmp_path / "bundle", at="conv2d_1", licence="CC0") == "conv2d_1"


def test_a_cut_is_checked_before_the_first_step() -> None:
    keras.utils.clear_session()
    network = build_model(replace(CONFIG, outputs="auxiliary"))
    checked = from_run.CheckedCut("cut_hidden")
    checked.set_model(network)
    with pytest.raises(ConfigError, match="no layer 'cut_hidden'"):  # of another output, on no way to the answer
        checked.on_train_begin()
    valid = from_run.CheckedCut("conv2d_1")
    valid.set_model(network)
    valid.on_train_begin()
