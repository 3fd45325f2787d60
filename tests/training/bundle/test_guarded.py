"""A bundle gets its guarded preset in one command: what is deployed computes what was trained, and is measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
pytest.importorskip("sklearn")

import keras
import tensorflow as tf

from securesplit.audit.attacks.whitebox import WhiteBox
from securesplit.errors import ConfigError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.model.gate import MAP
from securesplit.model.guarded_preset import HEAD, TAIL
from securesplit.privacy.release import from_grid, saturate, to_grid
from training.bundle import guarded as making
from training.bundle.guarded import Trained
from training.data.dataset import Dataset
from training.data.photo import DataError
from training.network import warm_start
from training.release.guarded import parts, weights
from training.release.guarded.losses import GRID

from .conftest import SIDE
from .test_attack_decoder import bundle_in

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
CUT, SIZE, CHANNELS = (6, 6, 8), 3, 8
REPORT = {
    "settings": {"cut": "middle", "size": str(SIZE), "channels": str(CHANNELS), "blocks": "0", "sigma": "0.3"},
    "multiply_adds": {"device": 40, "worker": 60, "device_share": 0.4},
    "auc": {"undefended": 0.92, "probe": 0.90, "answer": 0.91},
    "attacked": {"ridge_skill": 0.06},
}


def network() -> keras.Model:
    photo = keras.Input((SIDE, SIDE, 3))
    cut = keras.layers.Conv2D(CUT[2], 4, strides=4, activation="relu", name="middle")(
        keras.layers.Rescaling(1 / 255)(photo)
    )
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 1, activation="relu")(cut))
    return keras.Model(photo, {"malignant": keras.layers.Dense(1)(pooled)})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, keras.Model]]:
    """What `training.release.guarded` writes of such a network, untrained, and its parts."""
    keras.utils.set_random_seed(2)
    folder, whole = tmp_path_factory.mktemp("run"), network()
    middle = whole.get_layer("middle").output
    models = {
        "encoder": parts.encoder(CUT, SIZE, CHANNELS),
        "decoder": parts.decoder(CUT, SIZE, CHANNELS),
        "tail": keras.Model(middle, whole.output["malignant"]),
        "probe": parts.probe(SIZE, CHANNELS),
    }
    last = models["encoder"].layers[-1].kernel
    last.assign(40 * last)  # untrained, it would round to nothing
    weights.save(models, folder / "guarded.npz")
    (folder / "guarded.json").write_text(json.dumps(REPORT))
    return folder / "guarded.npz", models | {"head": keras.Model(whole.inputs[0], middle), "whole": whole}


@pytest.fixture(scope="module")
def made(
    run: tuple[Path, dict[str, keras.Model]], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, Bundle]:
    """The bundle before and after."""
    root = tmp_path_factory.mktemp("made")
    before, data = bundle_in(root / "before"), Dataset.read(photos, root / "pixels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warm_start, "network_of", lambda _: run[1]["whole"])
        making.make(before, Trained.read(run[0]), data, root / "after")
    return before, Bundle.load(root / "after")


def test_the_bundle_has_a_measured_preset(made: tuple[Bundle, Bundle]) -> None:
    before, after = made
    assert (after.manifest.schema, after.manifest.default_preset) == ("securesplit.bundle/3", "none")
    assert after.presets["none"] == before.presets["none"]
    for name in ("head.tflite", "tail.tflite"):
        assert (after.folder / name).read_bytes() == (before.folder / name).read_bytes()
    preset = after.preset("guarded")
    assert {"auc", "sensitivity", "ece"} <= set(preset.quality["test"])
    assert preset.spread is not None
    assert not preset.noise_calibrations  # no epsilon can be asked of it
    assert (preset.spec.shape, preset.spec.dtype, preset.spec.step) == ((SIZE, SIZE, CHANNELS), "int8", 1 / GRID)
    assert float(preset.spec.sigma_squared) == pytest.approx((0.3 * GRID) ** 2, rel=1e-4)
    about = after.manifest.provenance["guarded"]
    assert {name: about[name] for name in ("multiply_adds", "auc", "attacked")} == {
        name: REPORT[name] for name in ("multiply_adds", "auc", "attacked")
    }
    assert about["cut"] == "middle"


def test_what_is_deployed_computes_what_was_trained(
    made: tuple[Bundle, Bundle], run: tuple[Path, dict[str, keras.Model]]
) -> None:
    """The head's numbers lie on the grid, so that the device's truncation is the rounding of the training."""
    (_, bundle), models = made, run[1]
    spec, head, tail = bundle.preset("guarded").spec, bundle.open_head(preset="guarded"), bundle.open_tail()
    rounded = 0
    for seed in range(4):
        photo = draw_lesion(seed, SIDE)
        found, cut = head(photo), models["head"](photo[None].astype(np.float32))
        np.testing.assert_allclose(found[MAP], np.asarray(cut)[0], atol=1e-2)
        clean = to_grid(found["guarded"], spec)
        np.testing.assert_array_equal(clean, np.rint(found["guarded"] * GRID))
        trained = np.asarray(models["encoder"](cut))[0] * GRID
        rounded += int((clean != np.trunc(trained)).sum())
        assert np.abs(clean - trained).max() < 0.6
        sent = saturate(clean, spec)
        expected = models["tail"](models["decoder"](from_grid(sent, spec)[None]))
        assert tail("guarded", sent[None])[0] == pytest.approx(float(expected[0, 0]), abs=1e-2)
    assert rounded


def test_attackers_have_its_gradients(made: tuple[Bundle, Bundle]) -> None:
    bundle = made[1]
    box, photo = WhiteBox(bundle.read_head("guarded")), draw_lesion(1, SIDE)
    pixels = tf.Variable(photo[None].astype(np.float32))
    with tf.GradientTape() as tape:
        found = box(pixels)["guarded"]
        loss = tf.reduce_sum(found**2)
    np.testing.assert_allclose(found[0], bundle.open_head(preset="guarded")(photo)["guarded"], atol=1e-3)
    assert np.abs(tape.gradient(loss, pixels).numpy()).max() > 0


def test_weights_without_a_report_are_refused(tmp_path: Path, run: tuple[Path, dict[str, Any]]) -> None:
    file = tmp_path / "guarded.npz"
    for report in (None, "{", json.dumps({**REPORT, "settings": {}}), json.dumps({"settings": REPORT["settings"]})):
        if report is not None:
            (tmp_path / "guarded.json").write_text(report)
        with pytest.raises(DataError, match="no report of a finished run") as caught:
            Trained.read(file)
        assert caught.value.hint
    assert Trained.read(run[0]).sigma == 0.3


def test_releases_of_one_shape_are_refused(
    made: tuple[Bundle, Bundle], run: tuple[Path, dict[str, Any]], photos: Path, tmp_path: Path
) -> None:
    before, trained = made[0], Trained.read(run[0])
    other = replace(
        before.presets["none"], spec=replace(trained.spec, preset="none", clip_norm=None, sigma_per_clip=0.0)
    )
    alike = replace(before, manifest=replace(before.manifest, presets={"none": other}))
    with pytest.raises(DataError, match="preset none has releases of that shape"):
        making.make(alike, trained, Dataset.read(photos, tmp_path / "pixels"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_other_squares_than_the_bundle_shows_are_refused(
    made: tuple[Bundle, Bundle], run: tuple[Path, dict[str, Any]], photos: Path, tmp_path: Path
) -> None:
    around = replace(made[0], manifest=replace(made[0].manifest, framing="lesion"))
    with pytest.raises(ConfigError, match=r"learned from another square of each photo \(centre square\)") as caught:
        making.make(around, Trained.read(run[0]), Dataset.read(photos, tmp_path / "pixels"), tmp_path / "out")
    assert "--framing 'lesion'" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_files_have_their_names(made: tuple[Bundle, Bundle]) -> None:
    assert {path.name for path in made[1].folder.iterdir()} == {
        "manifest.json",
        "head.tflite",
        "tail.tflite",
        HEAD,
        TAIL,
    }
