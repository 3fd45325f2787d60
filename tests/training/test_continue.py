"""What goes on from trained weights: held layers, mixup, and which photos count more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
import tensorflow as tf

from training.augment import mixed
from training.data import Photo, Split
from training.finetune import freeze_until, targets_and_weights

pytestmark = [pytest.mark.filterwarnings("ignore")]


def test_mixup_blends_photos_targets_and_weights_by_the_same_shares() -> None:
    tf.random.set_seed(1)
    values = np.arange(64, dtype=np.float32)
    photos = np.broadcast_to(values[:, None, None, None], (64, 2, 2, 3))
    blended, targets, weights = mixed(tf.constant(photos), {"malignant": values[:, None]}, {"malignant": values}, 0.2)
    following = np.roll(values, 1)
    share = (weights["malignant"].numpy() - following) / (values - following)
    assert share.min() >= 0.5 - 1e-4
    assert share.max() <= 1 + 1e-4
    assert 0.05 < np.mean(share < 0.95) < 0.95
    np.testing.assert_allclose(blended.numpy()[:, 1, 1, 2], weights["malignant"], rtol=1e-5)
    np.testing.assert_allclose(targets["malignant"].numpy()[:, 0], weights["malignant"], rtol=1e-5)


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
    with pytest.raises(ValueError, match="nowhere"):
        freeze_until(network, "nowhere")


def test_proven_benign_photos_can_count_more() -> None:
    photos = tuple(
        Photo(Path("x"), malignant=m, lesion="x", dx=dx, dx_type=how)
        for m, dx, how in ((True, "mel", "histo"), (False, "nv", "histo"), (False, "nv", "follow_up"), (False, "", ""))
    )
    split = Split(photos, np.zeros((4, 1, 1, 3), np.uint8))
    _, weights = targets_and_weights(split, malignant_weight=2.0, histology_weight=1.5)
    np.testing.assert_allclose(weights["malignant"], [2, 1.5, 1, 1])
    np.testing.assert_allclose(weights["dx"], [2, 1.5, 1, 0])
