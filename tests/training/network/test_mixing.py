"""Mixup and CutMix: photos, targets and weights are mixed by the same shares. Needs TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from training.network.config import Config
from training.network.mixing import Mixing

VALUES = np.arange(64, dtype=np.float32)
PHOTOS = np.broadcast_to(VALUES[:, None, None, None], (64, 20, 30, 3))


def mixed(**settings: float) -> tuple[Any, Any, Any]:
    found = Mixing(Config("tiny", **settings), seed=1)(  # type: ignore[arg-type]
        keras.ops.convert_to_tensor(PHOTOS), {"malignant": VALUES[:, None]}, {"malignant": VALUES}
    )
    return keras.tree.map_structure(keras.ops.convert_to_numpy, found)  # type: ignore[no-any-return]


def test_mixup_blends_photos_targets_and_weights_alike() -> None:
    photos, targets, weights = mixed(mixup=0.2)
    following = np.roll(VALUES, 1)
    share = (weights["malignant"] - following) / (VALUES - following)
    assert share.min() >= 0.5 - 1e-4
    assert share.max() <= 1 + 1e-4
    assert 0.05 < np.mean(share < 0.95) < 0.95
    np.testing.assert_allclose(photos[:, 1, 1, 2], weights["malignant"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(targets["malignant"][:, 0], weights["malignant"], rtol=1e-5)


def test_cutmix_pastes_a_box_and_weighs_it_by_its_pixels() -> None:
    photos, targets, weights = mixed(cutmix=1.0)
    following = np.roll(VALUES, 1)
    foreign = photos[..., 0] == following[:, None, None]
    assert (foreign | (photos[..., 0] == VALUES[:, None, None])).all()
    rows, columns = foreign.any(2), foreign.any(1)
    assert (foreign == (rows[:, :, None] & columns[:, None, :])).all()  # a box
    assert (np.abs(np.diff(rows.astype(int), axis=1)).sum(1) <= 2).all()
    share = 1 - foreign.mean((1, 2))
    assert share.min() < 0.5 < share.max()
    np.testing.assert_allclose(targets["malignant"][:, 0], share * VALUES + (1 - share) * following, atol=1e-4)
    np.testing.assert_allclose(weights["malignant"], targets["malignant"][:, 0], atol=1e-4)


def test_without_either_nothing_changes() -> None:
    photos, targets, weights = mixed()
    assert (photos == PHOTOS).all()
    assert (targets["malignant"][:, 0] == VALUES).all()
    assert (weights["malignant"] == VALUES).all()
