"""From synthetic lesions to a bundle that answers: every stage of the training, small. Needs TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
from sklearn.metrics import roc_auc_score

from securesplit.model import Bundle, backbones
from securesplit.privacy.release import ReleaseSpec, from_grid, saturate, to_grid
from tests.training.drawn_photos import draw_isic
from tests.training.forked import LINE, Forks
from training.bundle import export
from training.network import run_record
from training.network.model import shipped_network
from training.release import encoders, quantizer, regularizers
from training.release.cache import Cached, split_network
from training.release.layers import ClipNorm, Squash, TruncateToGrid, release_layers
from training.release.presets import certified
from training.release.presets.certified import CertifiedRecipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

SIDE = 96


def test_the_trained_release_is_the_deployed_one() -> None:
    spec = ReleaseSpec("certified", (4,), "int16", step=1 / 64, clip_norm=1.0)
    z = np.random.default_rng(1).normal(0, 0.8, (64, 4)).astype(np.float32)
    trained = keras.ops.convert_to_numpy(TruncateToGrid(spec.step, 32767)(ClipNorm(1.0)(z)))
    deployed = np.stack([from_grid(saturate(to_grid(row, spec), spec), spec) for row in z])
    assert np.abs(trained - deployed).max() <= spec.step + 1e-6
    assert (trained == deployed).mean() > 0.95


@pytest.mark.parametrize("numbers", [1, 2, 8])
def test_squashed_embeddings_are_clipped_in_their_direction(numbers: int) -> None:
    z = np.random.default_rng(1).normal(0, 5, (64, numbers)).astype(np.float32)
    squashed = keras.ops.convert_to_numpy(Squash(2.0)(z))
    norms = np.linalg.norm(squashed, axis=1)
    assert norms.max() < 2.0
    assert np.allclose(squashed / norms[:, None], z / np.linalg.norm(z, axis=1)[:, None], atol=1e-5)
    assert np.allclose(keras.ops.convert_to_numpy(ClipNorm(2.0)(squashed)), squashed)


@pytest.mark.parametrize("count", [3, 5, 6, 7])
def test_the_encoder_releases_the_level_of_the_score(count: int) -> None:
    """Through the embedding, the clip and the grid of the device; the decoder answers each level's log-odds."""
    rng = np.random.default_rng(1)
    malignant = rng.random(400) < 0.3
    scores = np.tanh(rng.normal(size=400) + malignant).astype(np.float32)
    spec = encoders.certified_spec(count, 0.15)
    fitted = quantizer.fit(scores.astype(np.float64), malignant, count, float(spec.sigma_squared))
    passed = keras.Input((1,))
    score = keras.Model(passed, keras.layers.Identity()(passed))
    embedding = encoders.certified_encoder(score, fitted, spec).predict(scores[:, None], verbose=0)
    sent = np.array([to_grid(row, spec)[0] for row in embedding])
    near = np.abs(scores[:, None] - fitted.thresholds).min(1) < 1e-5  # float32 may put a score on either side
    assert (sent == fitted.level(scores))[~near].all()
    assert set(sent) == set(range(-(count // 2), count - count // 2))
    answers = encoders.certified_decoder(fitted, spec).predict((np.arange(-9, 10) * spec.step)[:, None], verbose=0)[
        :, 0
    ]
    assert (np.diff(answers) > 0).all()
    reached = np.abs(fitted.values) <= 9
    assert answers[(fitted.values[reached] + 9).astype(int)] == pytest.approx(fitted.logits[reached], abs=1e-3)


@pytest.mark.parametrize("names", [(), *((name,) for name in regularizers.NAMES), certified.REGULARISERS])
def test_members_learn_and_regularisers_hold_them_back(names: Iterable[str]) -> None:
    """Maps whose mean says malignant and site: the score follows the label, and every term costs it something."""
    rng = np.random.default_rng(1)
    malignant = (rng.random(512) < 0.4).astype(np.float32)[:, None]
    site = rng.choice([-1.0, 1.0], (512, 1)).astype(np.float32)
    maps = rng.normal(size=(512, 4, 4, 6)) + 3 * np.c_[malignant, site, np.zeros((512, 4))][:, None, None]
    thumbnail = np.repeat(site, 3, axis=1)[:, None, None].astype(np.float16) / 4 + 0.5
    cached = Cached(maps.astype(np.float16), 8 * malignant - 4, malignant, np.arange(512), thumbnail)
    recipe = CertifiedRecipe(members=2, epochs=20, regularisers=dict.fromkeys(names, 0.1), learning_rate=5e-3)
    score, losses = certified.trained_score(cached, site, recipe)
    assert roc_auc_score(malignant[:, 0], certified.scores_of(score, cached)) > 0.9
    assert losses[-1] < losses[0]


def test_terms_are_large_only_where_the_score_tells() -> None:
    rng = np.random.default_rng(2)
    malignant = (rng.random((300, 1)) < 0.5).astype(np.float32)
    secret = rng.normal(size=(300, 3)).astype(np.float32)
    telling, silent = secret[:, :1], rng.normal(size=(300, 1)).astype(np.float32)
    far, near = (float(regularizers.distance_correlation(z, secret, malignant)) for z in (telling, silent))
    assert far > 5 * near
    assert float(regularizers.class_spread(malignant, malignant)) == pytest.approx(0.0, abs=1e-6)
    assert float(regularizers.class_spread(silent, malignant)) == pytest.approx(1.0, rel=0.2)
    passed = keras.Input((2, 2, 1))
    steep = keras.Model(passed, keras.layers.Lambda(lambda m: 3.0 * keras.ops.sum(m, (1, 2)))(passed))
    maps = keras.ops.convert_to_tensor(rng.normal(size=(200, 2, 2, 1)).astype(np.float32))
    assert float(regularizers.jacobian(steep, maps)) == pytest.approx(9 * 4, rel=0.2)


def test_gradients_pass_the_grid_and_noise_is_there_at_inference() -> None:
    spec = ReleaseSpec("certified", (2,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=0.5)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, release_layers(spec, keras.layers.Dense(2)(inputs)))
    x = np.ones((8, 2), np.float32)
    assert (model.predict(x, verbose=0) != model.predict(x, verbose=0)).any()
    before = model.get_weights()[0].copy()
    model.compile("sgd", "mse")
    model.fit(x, 5 * x, verbose=0)
    assert (model.get_weights()[0] != before).any()


@pytest.mark.parametrize("backbone", ["efficientnetv2b0", "mobilenet_v2", "xception"])
def test_head_and_tail_are_the_whole_network(backbone: str) -> None:
    network = shipped_network(backbone, SIDE)
    head, tail = split_network(network, backbone)
    photo = np.random.default_rng(1).uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32)
    whole = network(photo, training=False)["malignant"]
    assert np.abs(keras.ops.convert_to_numpy(tail(head(photo)) - whole)).max() < 1e-5


def test_export_computes_what_keras_computes() -> None:
    from ai_edge_litert.interpreter import Interpreter

    network = backbones.build("mobilenet_v2", SIDE, None)
    content = export.export_tail({"whole": network}, {"whole": (SIDE, SIDE, 3)})
    photo = np.random.default_rng(1).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(network(photo, training=False))
    found = Interpreter(model_content=content).get_signature_runner("whole")(release=photo)["logit"]
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max() + 1e-3


@pytest.mark.skipif("SECURESPLIT_LONG" not in os.environ, reason="takes three minutes (SECURESPLIT_LONG=1)")
def test_one_command_makes_a_bundle_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    command = [
        *(sys.executable, "-m", "training.bundle.default", "--data", tmp_path / "data", "--run", tmp_path / "run"),
        *("--out", tmp_path / "bundle", "--backbone", "mobilenet_v2", "--batch", "2", "--views", "1"),
        *("--compact-epochs", "1", "--certified-epochs", "1", "--epochs", "4", "--generations", "2"),
    ]
    first = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch 2:"):
            break
    first.kill()
    first.communicate()
    second = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr[-2000:]
    assert "Epoch 4/4" in second.stdout
    assert "Epoch 1/4" not in second.stdout
    distilled = run_record.read(tmp_path / "run-generation-2")
    teacher = Bundle.load(tmp_path / "run" / "teacher")
    assert (distilled["status"], distilled["made_from"]["teacher"]) == ("finished", teacher.id)
    bundle = Bundle.load(tmp_path / "bundle")
    assert bundle.manifest.provenance["fine_tuning"]["run"] == "run-generation-2"
    head, tail = bundle.open_head(), bundle.open_tail()
    photo = np.zeros((150, 150, 3), np.uint8)
    for name, preset in bundle.presets.items():
        sent = saturate(to_grid(head(photo)[name], preset.spec), preset.spec)
        assert np.isfinite(tail(name, sent[None])).all()


def test_arguments_have_help(forks: Forks) -> None:
    done = forks.run([*LINE, "training.bundle.default", "--help"])
    assert done.returncode == 0
    assert "--weights" in done.stdout
