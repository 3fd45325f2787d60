"""A backup is whole whenever the run is killed. Needs TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from training.network.checkpoint import Backup, epochs_behind, weights_of

pytestmark = [pytest.mark.filterwarnings("ignore")]


class KilledError(Exception):
    """The process ends here."""


def trained(folder: Path, epochs: int, *, begun: int = 0) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.optimizer.build(model.trainable_variables)
    x = np.arange(12, dtype=np.float32).reshape(4, 3) / 12
    model.fit(
        x, x[:, :2] ** 2, initial_epoch=begun, epochs=epochs, shuffle=False, verbose=0, callbacks=[Backup(folder)]
    )
    return model


def test_a_run_that_goes_on_ends_like_one_that_was_not_stopped(tmp_path: Path) -> None:
    assert epochs_behind(tmp_path / "none") == 0
    whole = trained(tmp_path / "whole", 4)
    trained(tmp_path / "parts", 2)
    assert epochs_behind(tmp_path / "parts") == 2
    rest = trained(tmp_path / "parts", 4, begun=2)
    np.testing.assert_allclose(rest.get_weights()[0], whole.get_weights()[0], rtol=1e-6)
    assert [f.name for f in (tmp_path / "parts").glob("*.h5")] == ["after-4.weights.h5"]


def test_a_kill_while_weights_are_written_leaves_the_epoch_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the very first epoch, where there is none before."""

    def half(self: Path, content: bytes) -> None:
        with self.open("wb") as stream:
            stream.write(bytes(content)[:9])
        raise KilledError

    for behind in (0, 2):
        folder = tmp_path / str(behind)
        if behind:
            trained(folder, behind)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", half)
            with pytest.raises(KilledError):
                trained(folder, behind + 1, begun=behind)
        assert epochs_behind(folder) == behind
        assert not weights_of(folder, behind + 1).exists()
        rest, whole = trained(folder, 4, begun=behind), trained(tmp_path / f"whole-{behind}", 4)
        np.testing.assert_allclose(rest.get_weights()[0], whole.get_weights()[0], rtol=1e-6)
        assert epochs_behind(folder) == 4
