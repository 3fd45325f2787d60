"""A bundle gets its encrypted preset in one command: measured as it is deployed, resumed where it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
pytest.importorskip("sklearn")

import keras

from securesplit.encrypted.layout import Layout
from securesplit.model import Bundle, encrypted_preset
from securesplit.privacy.release import saturate, to_grid
from training.bundle import encrypted as making
from training.data.dataset import Dataset
from training.release.encrypted import maps, networks
from training.release.encrypted.distillation import Distillation
from training.release.guarded.checkpoint import Checkpoint

from .test_attack_decoder import SIDE, bundle_in

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
SETTINGS: dict[str, Any] = {"epochs": 2, "views": 1, "seed": 1}
SEEN = (("train", 1), ("val", 0))


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle, Path]:
    """The bundle before and after, and the folder of the run, which was interrupted after its first epoch."""
    folder, run = tmp_path_factory.mktemp("made") / "bundle", tmp_path_factory.mktemp("run")
    before, data = bundle_in(folder), Dataset.read(photos, run / "pixels")

    saved, epochs = Checkpoint.save, []

    def killed(self: Checkpoint, step: int, **values: float) -> None:
        saved(self, step, **values)
        epochs.append(step)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            making.make(before, data, run, **SETTINGS)
        assert Bundle.load(folder).id == before.id
        patch.setattr(maps, "_computed", lambda *_: pytest.fail("a view was computed twice"))
        patch.setattr(Checkpoint, "save", lambda self, step, **_: epochs.append(step))
        making.make(Bundle.load(folder), data, run, **SETTINGS)
    assert epochs == [1, 2]
    return before, Bundle.load(folder), run


def test_the_bundle_has_a_measured_preset(made: tuple[Bundle, Bundle, Path]) -> None:
    before, after, _ = made
    assert after.id != before.id
    assert after.manifest.schema == "securesplit.bundle/2"
    assert (before.manifest.default_preset, after.manifest.default_preset) == ("none", "encrypted")
    assert (after.manifest.head_sha256, after.presets["none"]) == (before.manifest.head_sha256, before.presets["none"])
    preset = after.preset("encrypted")
    assert {"auc", "sensitivity", "ece"} <= set(preset.quality["test"])
    about = after.manifest.provenance["encrypted"]
    assert 0 <= about["auc_of_a_linear_probe_of_the_features"]["test"] <= 1
    assert (about["epochs"], about["views"], about["epoch"] in (1, 2)) == (2, 1, True)


def test_what_is_deployed_answers_as_what_was_trained(
    made: tuple[Bundle, Bundle, Path], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoder on LiteRT, grid, quadratic tail in NumPy, against Keras, whose weights are read back and not trained."""
    before, after, run = made
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    data = Dataset.read(photos, run / "pixels")
    seen = {split: maps.Maps.of(before, data.split(split, SIDE), run / "maps", views=n, seed=1) for split, n in SEEN}
    settings = SETTINGS | {split: seen[split].digest for split in ("train", "val")}
    trained = Distillation(after.preset("none").spec.shape, settings)
    assert trained.best(seen["train"], seen["val"], run)["epoch"] in (1, 2)
    expected = trained.logits(seen["val"].maps)
    releases = np.stack([release(map_, after) for map_ in seen["val"].maps.astype(np.float32)])
    assert after.open_measured_tail()("encrypted", releases) == pytest.approx(expected, abs=5e-3)


def release(cut: NDArray[np.float32], bundle: Bundle) -> NDArray[np.integer]:
    """What a device would encrypt."""
    encoder, spec = bundle.open_encoder(), bundle.preset("encrypted").spec
    assert encoder is not None
    return saturate(to_grid(encoder(cut), spec), spec)


def test_weights_that_no_ciphertext_reaches_stay_zero() -> None:
    keras.utils.set_random_seed(1)
    tail = networks.tail()
    tail.compile(keras.optimizers.SGD(1e-4), "mse")
    tail.fit(np.ones((8, 256)), np.ones((8, 1)), epochs=2, verbose=0)
    found = networks.quadratic(tail)
    reached = Layout().first_alone(found.first)[1]
    assert not found.first[~reached].any()
    assert (found.first[reached] != 0).all()
    features = np.random.default_rng(1).uniform(-1, 1, (5, 256)).astype(np.float32)
    assert found.plain(features) == pytest.approx(np.asarray(tail(features))[:, 0], abs=1e-4)
    assert encrypted_preset.parse_tail(encrypted_preset.tail_to_bytes(found)).last_bias == found.last_bias
