"""What CONTRIBUTING.md says of a new backbone, preset and number of levels is all that there is to do.

Needs TensorFlow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from securesplit.model import backbones
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.litert import Head, Tail
from securesplit.privacy.release import to_grid
from training.bundle import default
from training.network.config import named
from training.network.model import build_model
from training.release import encoders, presets, quantizer
from training.release.cache import Cached, split_network
from training.release.preset import CutNetwork, Trained
from training.release.presets.certified import CertifiedRecipe

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

WHISPER = """
import keras
from securesplit.privacy.release import ReleaseSpec
from training.release.preset import Trained

NAME = "whisper"

def add_arguments(parser):
    parser.add_argument("--whisper-step", type=float, default=0.5)

def train(cut, args):
    spec = ReleaseSpec("whisper", (1,), "int16", step=args.whisper_step, clip_norm=None)
    at = keras.Input(cut.shape)
    encoder = keras.Model(at, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(at)))
    release = keras.Input(spec.shape)
    decoder = keras.Model(release, keras.layers.Dense(1)(release))
    return Trained(spec, encoder, decoder, val_auc=0.5, settings={"step": spec.step})
"""


def test_a_new_preset_is_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has options, is trained, exported and noted, and both halves of the bundle compute it."""
    (tmp_path / "whisper.py").write_text(WHISPER)
    monkeypatch.setattr(presets, "__path__", [str(tmp_path)])
    args = default.arguments().parse_args(["--whisper-step", "0.25"])
    (preset,) = presets.modules()
    head, tail = small_network()
    maps = np.zeros((2, *tail.input_shape[1:]), np.float16)
    views = Cached(maps, np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32), np.arange(2), maps[..., :3])
    trained = {preset.NAME: preset.train(CutNetwork(tail, views, views, np.zeros((2, 1), np.float32), tmp_path), args)}
    monkeypatch.setattr(default, "SIDE", 48)
    exported = default.build_halves(head, tail, trained)
    embedding = Head(exported[0], threads=1)(np.zeros((48, 48, 3), np.uint8))
    assert set(embedding) == {"none", "whisper"}
    assert np.isfinite(
        Tail(exported[1], {"whisper": trained["whisper"].spec}, 1)("whisper", np.zeros((1, 1), np.int16))
    ).all()
    del sys.modules["training.release.presets.whisper"]


def test_a_preset_keeps_the_name_that_the_bundle_before_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers go on under it (ADR 101)."""
    assert default.stored_names(DEFAULT_FOLDER) == {"certified": "private"}
    assert default.stored_names(tmp_path) == {}
    head, tail = small_network()
    spec = encoders.certified_spec(6, 0.1)
    at, release = keras.Input(tail.input_shape[1:]), keras.Input(spec.shape)
    encoder = keras.Model(at, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(at)))
    decoder = keras.Model(release, keras.layers.Dense(1)(release))
    trained = {"certified": Trained(spec, encoder, decoder, 0.5).stored_as("private")}
    monkeypatch.setattr(default, "SIDE", 48)
    halves = default.build_halves(head, tail, trained)
    assert set(Head(halves[0], threads=1)(np.zeros((48, 48, 3), np.uint8))) == {"none", "private"}
    assert Tail(halves[1], {"certified": trained["certified"].spec}, 1)("certified", np.zeros((1, 1), np.int16)).size


def small_network() -> tuple[keras.Model, keras.Model]:
    photo = keras.Input((48, 48, 3))
    cut = keras.layers.Conv2D(4, 3, strides=8, name="cut")(photo)
    logit = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(cut))
    return keras.Model(photo, cut), keras.Model(cut, logit)


def test_a_new_number_of_levels_is_one_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipe, command line, release, quantizer, encoder, decoder and accounting follow it."""
    monkeypatch.setattr(encoders, "CERTIFIED_LEVELS", 9)
    args = default.arguments().parse_args([])
    assert args.levels == CertifiedRecipe().levels == 9
    spec = encoders.certified_spec(args.levels, args.sigma)
    assert spec.levels == (-4, 4)
    rng = np.random.default_rng(1)
    malignant = rng.random(300) < 0.3
    scores = np.tanh(rng.normal(size=300) + malignant)
    fitted = quantizer.fit(scores, malignant, args.levels, float(spec.sigma_squared))
    passed = keras.Input((1,))
    encoder = encoders.certified_encoder(keras.Model(passed, keras.layers.Identity()(passed)), fitted, spec)
    sent = {int(to_grid(row, spec)[0]) for row in encoder.predict(scores[:, None].astype(np.float32), verbose=0)}
    assert sent == set(range(-4, 5))
    assert spec.sensitivity == 8
    assert spec.loss.identification_bound(1000) <= 9 / 1000


def test_a_new_backbone_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations, the build of the bundle and the split at its cut know it."""
    entry = backbones.Backbone("MobileNetV2", cut="block_6_expand_relu", scale=1 / 127.5, offset=-1.0)
    monkeypatch.setitem(backbones.BACKBONES, "shallow", entry)
    assert default.arguments().parse_args(["--backbone", "shallow"]).backbone == "shallow"
    network = build_model(named("dermoscopy", ["backbone=shallow", "side=64"]))
    head, tail = split_network(network, "shallow")
    photo = np.random.default_rng(1).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    whole = network(photo, training=False)["malignant"]
    assert np.abs(keras.ops.convert_to_numpy(tail(head(photo)) - whole)).max() < 1e-5
