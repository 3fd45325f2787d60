"""Networks of a configuration: what is held, what is lost, and which photos count more. Needs TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from securesplit.errors import ConfigError
from training.data.dataset import Split
from training.data.photo import Photo
from training.network.config import CONFIGS, Config
from training.network.model import compile_model, freeze_until
from training.network.targets import targets_and_weights

pytestmark = [pytest.mark.filterwarnings("ignore")]


def test_held_layers_do_not_learn_and_the_others_do() -> None:
    network = keras.Sequential([keras.layers.Dense(3, name=name) for name in ("first", "second", "last")])
    network.build((None, 3))
    before = [layer.get_weights()[0] for layer in network.layers]
    freeze_until(network, "second")
    network.compile(keras.optimizers.SGD(0.1), "mse")
    network.fit(np.ones((4, 3)), np.zeros((4, 3)), verbose=0)
    moved = [not np.array_equal(b, layer.get_weights()[0]) for b, layer in zip(before, network.layers, strict=True)]
    assert moved == [False, False, True]


def test_holding_an_unknown_layer_is_refused() -> None:
    network = keras.Sequential([keras.layers.Dense(3, name="first")])
    with pytest.raises(ConfigError, match="nowhere") as caught:
        freeze_until(network, "nowhere")
    assert caught.value.hint


def test_confirmed_benign_photos_can_count_more() -> None:
    photos = tuple(
        Photo(Path("x"), malignant=m, lesion="x", dx=dx, dx_type=how)
        for m, dx, how in ((True, "mel", "histo"), (False, "nv", "histo"), (False, "nv", "follow_up"), (False, "", ""))
    )
    split = Split(photos, np.zeros((4, 1, 1, 3), np.uint8))
    config = replace(CONFIGS["dermoscopy"], malignant_weight=2.0, histology_weight=1.5)
    targets, weights = targets_and_weights(split, config)
    np.testing.assert_allclose(weights["malignant"], [2, 1.5, 1, 1])
    np.testing.assert_allclose(weights["dx"], [2, 1.5, 1, 0])
    assert targets["dx"][:3].argmax(1).tolist() == [1, 0, 0]
    assert targets["dx"].sum(1).tolist() == [1, 1, 1, 1]


def test_a_focal_loss_counts_what_is_known_less() -> None:
    """Lin et al.: (1 - p)^gamma times the cross-entropy, p the probability of the right class."""
    losses = {}
    for gamma in (0.0, 2.0):
        logit = keras.Input((1,))
        model = keras.Model(logit, {"malignant": keras.layers.Identity(name="malignant")(logit)})
        config = Config("tiny", schedule="constant", optimizer="adam", focal=gamma)
        compile_model(model, config, steps=1)
        losses[gamma] = [
            model.evaluate(np.array([[z]]), {"malignant": np.array([[1.0]])}, verbose=0) for z in (-2.0, 0.0, 2.0)
        ]
    right = 1 / (1 + np.exp(-np.array([-2.0, 0.0, 2.0])))
    np.testing.assert_allclose(losses[0.0], -np.log(right), rtol=1e-4)
    np.testing.assert_allclose(losses[2.0], -((1 - right) ** 2) * np.log(right), rtol=1e-4)


def test_the_end_at_the_cut_can_count_more() -> None:
    """No end knows anything, so each loss is the logarithm of how many classes it has: 2 and 7."""
    losses = {}
    for cut_weight in (0.0, 0.5, 2.0):
        logit = keras.Input((1,))
        sizes = {"malignant": 1, "dx": 7, "cut_malignant": 1, "cut_dx": 7}
        ends = {n: keras.layers.Dense(k, kernel_initializer="zeros", name=n)(logit) for n, k in sizes.items()}
        model = keras.Model(logit, ends)
        compile_model(model, Config("tiny", schedule="constant", optimizer="adam", cut_weight=cut_weight), steps=1)
        known = {n: np.eye(max(k, 2), dtype=np.float32)[:1, -k:] for n, k in sizes.items()}
        losses[cut_weight] = model.evaluate(np.ones((1, 1)), known, verbose=0, return_dict=True)["loss"]
    one_end = np.log(2) + np.log(7) / 2
    assert losses == pytest.approx({weight: (1 + weight) * one_end for weight in losses}, rel=1e-5)
