"""Which epoch's weights are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from training.network.validation import KeepBest

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras and NumPy are not of one mind


@pytest.mark.parametrize(("monitor", "kept"), [("val_auc", 2), (None, 3)])
def test_the_best_epoch_is_kept_or_the_last(tmp_path: Path, monitor: str | None, kept: int) -> None:
    """Sources that are held out are among what is measured, so that an epoch chosen by it would flatter itself."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    figures = iter([0.7, 0.9, 0.8])
    keeper = KeepBest(lambda _: {"val_auc": next(figures)}, monitor, tmp_path / "best.weights.h5")
    keeper.set_model(model)
    for epoch in range(3):
        model.set_weights([np.full((1, 1), epoch + 1.0)])
        keeper.on_epoch_end(epoch)
    assert json.loads((tmp_path / "best.weights.json").read_text())["epoch"] == kept
    model.load_weights(str(tmp_path / "best.weights.h5"))
    assert model.get_weights()[0] == kept
