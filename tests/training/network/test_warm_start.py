"""The network of the shipped bundle, read back from its LiteRT halves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from securesplit.errors import ConfigError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, backbones, packing, splitting
from securesplit.privacy.release import release
from tests.training.drawn_photos import draw_collection
from training.bundle import from_run
from training.bundle.default import held_out
from training.data.dataset import Dataset
from training.data.photo import DataError
from training.network import run_record, warm_start
from training.network.config import Config
from training.network.model import build_model
from training.network.warm_start import network_of
from training.network.weights_npz import load_weights_npz, save_weights_npz

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


CONFIG = Config("unlisted", side=32, outputs="auxiliary", batch_norm="frozen", hold_out="isic9,komour")


def build(*, include_top: bool, weights: None, input_tensor: Any) -> keras.Model:
    """A backbone that is not the shipped one."""
    x = keras.layers.Conv2D(6, 3, strides=4, activation="relu", name="stem")(input_tensor)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


def build_residual(*, include_top: bool, weights: None, input_tensor: Any) -> keras.Model:
    """As blocks of InceptionResNetV2."""
    x = keras.layers.Conv2D(6, 3, strides=4, activation="relu", name="stem")(input_tensor)
    x = CustomScaleLayer(0.17)([x, keras.layers.Conv2D(6, 1, name="block")(x)])
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


def build_otherwise(*, include_top: bool, weights: None, input_tensor: Any) -> keras.Model:
    x = keras.layers.Conv2D(6, 3, strides=4, activation="tanh", name="stem")(input_tensor)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


def build_separable(*, include_top: bool, weights: None, input_tensor: Any) -> keras.Model:
    x = keras.layers.SeparableConv2D(6, 3, strides=4, activation="relu", name="stem")(input_tensor)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


@pytest.fixture
def accelerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `training.network.accelerated` leaves in a folder, of a backbone of its own."""
    monkeypatch.setattr(keras.applications, "Unlisted", build, raising=False)
    monkeypatch.setitem(backbones.BACKBONES, "unlisted", backbones.Backbone("Unlisted", cut="stem"))
    folder = tmp_path / "accelerated"
    folder.mkdir()
    save_weights_npz(build_model(CONFIG), folder / "network.npz")
    noted = {"config": CONFIG.to_json(), "steps": 8, "device": "an accelerator", "val_auc": 0.9}
    (folder / "run.json").write_text(json.dumps(noted))
    return folder


def start(file: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["warm_start", "--npz", str(file), "--run", str(run)])
    warm_start.main()


def test_what_an_accelerator_trained_becomes_a_whole_run(
    tmp_path: Path, accelerated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Presets behind such a network do not learn from what it held out either."""
    run = tmp_path / "run"
    start(accelerated / "network.npz", run, monkeypatch)
    found, kept = (build_model(CONFIG) for _ in range(2))
    found.load_weights(str(run_record.best_weights(run)))
    load_weights_npz(kept, accelerated / "network.npz")
    for mine, back in zip(kept.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(back, mine)
    assert run_record.best_epoch(run)["val_auc"] == 0.9
    assert held_out(run) == ["isic9", "komour"]
    record = run_record.read(run)
    assert record["status"] == "finished"
    assert record["result"] == {"val_auc": 0.9}
    assert record["sessions"][0]["device"] == "an accelerator"
    start(accelerated / "network.npz", run, monkeypatch)
    save_weights_npz(build_model(CONFIG), accelerated / "network.npz")
    with pytest.raises(ConfigError, match="holds a run of other weights"):
        start(accelerated / "network.npz", run, monkeypatch)


def test_weights_without_their_configuration_are_of_the_shipped_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(_backbone: str) -> keras.Model:
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])

    save_weights_npz(small(""), tmp_path / "network.npz")
    monkeypatch.setattr(warm_start, "shipped_network", small)
    start(tmp_path / "network.npz", tmp_path / "run", monkeypatch)
    assert run_record.best_weights(tmp_path / "run").is_file()
    assert not (tmp_path / "run" / run_record.FILE).exists()


@pytest.mark.parametrize("noted", ["{", "[]", "{}", '{"config": {"side": 48}}', '{"config": 3}', '{"made_from": {}}'])
def test_notes_of_no_such_run_are_refused(
    tmp_path: Path, accelerated: Path, monkeypatch: pytest.MonkeyPatch, noted: str
) -> None:
    (accelerated / "run.json").write_text(noted)
    with pytest.raises(ConfigError, match=r"no run of training\.network\.accelerated"):
        start(accelerated / "network.npz", tmp_path / "run", monkeypatch)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_an_accelerator_trained_becomes_a_bundle(
    tmp_path: Path, accelerated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_collection(tmp_path / "data")
    start(accelerated / "network.npz", tmp_path / "run", monkeypatch)
    data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
    made = from_run.make_bundle(tmp_path / "run", data, tmp_path / "bundle")
    assert made.provenance["held_out"] == ["isic9", "komour"]
    assert made.provenance["best_epoch"]["device"] == "an accelerator"
    assert set(made.presets["none"].quality) == {"parity", "validation", "test"}


@pytest.mark.usefixtures("accelerated")
@pytest.mark.parametrize(
    ("precision", "pixels", "builders", "refused"),
    [
        ("float32", "pretrained", (build, build), None),
        ("float32", "0..1", (build_residual, build_residual), None),
        ("float32", "pretrained", (build_otherwise, build), "answers something else than the bundle"),
        ("float32", "pretrained", (build_separable, build_separable), "layers such as stem cannot be read back"),
        ("int8", "pretrained", (build, build), "neither float16 nor float32"),
    ],
)
def test_a_bundle_of_the_splitter_is_continued_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, pixels: str, builders: Any, refused: str | None
) -> None:
    """It was not measured, and the converter has folded scalings into the convolutions beside them."""
    keras.utils.set_random_seed(1)
    scaled = backbones.Backbone("Unlisted", cut="stem", scale=1 / 127.5, offset=-1.0)
    monkeypatch.setitem(backbones.BACKBONES, "unlisted", scaled)
    monkeypatch.setattr(keras.applications, "Unlisted", builders[0])
    network = splitting.choose_output(build_model(replace(CONFIG, pixels=pixels)), "malignant")
    network.get_layer("malignant").kernel.assign([[40.0], [-30.0], [20.0], [50.0], [-60.0], [10.0]])
    photos = np.stack([draw_lesion(seed, CONFIG.side) for seed in range(4)])
    packed = packing.pack(network, "stem", photos, precision=precision)
    about = {"licence": "CC0", "provenance": {}}
    packing.write_bundle(tmp_path / "b", packed, name="b", backbone="unlisted", cut="stem", side=32, about=about)
    monkeypatch.setattr(keras.applications, "Unlisted", builders[1])
    monkeypatch.setattr("sys.argv", ["warm_start", "--model", str(tmp_path / "b"), "--run", str(tmp_path / "run")])
    if refused is None:
        warm_start.main()
        assert set(run_record.best_epoch(tmp_path / "run")) == {"epoch", "bundle"}
        return
    with pytest.raises(DataError, match=refused) as caught:
        warm_start.main()
    assert caught.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_network_computes_what_the_bundle_computes() -> None:
    bundle = Bundle.load(None)
    photos = [draw_lesion(seed, 150) for seed in range(3)]
    head, tail, spec = bundle.open_head(), bundle.open_tail(threads=1), bundle.presets["none"].spec
    deployed = [tail("none", release(head(photo)["none"], spec, None)[None])[0] for photo in photos]
    rebuilt = network_of(bundle).predict(np.stack(photos).astype(np.float32), verbose=0)["malignant"][:, 0]
    assert np.ptp(deployed) > 0.1
    np.testing.assert_allclose(rebuilt, deployed, atol=0.02)  # the cut travels as integers, step 1/256


@pytest.mark.slow
def test_a_bundle_of_another_network_is_refused() -> None:
    bundle = Bundle.load(None)
    other = replace(bundle, manifest=replace(bundle.manifest, backbone="mobilenet_v2"))
    with pytest.raises(DataError, match="no weights of layer Conv1"):
        network_of(other)
