"""Weights as NumPy archives, and networks whose random weights NumPy draws."""

import sys
from pathlib import Path
from typing import IO

import numpy as np
import pytest

keras = pytest.importorskip("keras")
from securesplit.errors import ConfigError  # noqa: E402
from tests.training.drawn_photos import draw_tree  # noqa: E402
from training.data import pack  # noqa: E402
from training.network.quick_weights import drawn_by_numpy  # noqa: E402
from training.network.weights_npz import load_weights_npz, save_weights_npz  # noqa: E402


def network(width: int = 8) -> keras.Model:
    layers = [keras.layers.Conv2D(width, 3), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((6, 6, 3)), *layers])


def test_weights_return_in_half_precision_and_stay_finite(tmp_path: Path) -> None:
    written, read = network(), network()
    weights = written.get_weights()
    weights[5][:] = 1e6  # moving variance
    written.set_weights(weights)
    save_weights_npz(written, tmp_path / "w.npz")
    load_weights_npz(read, tmp_path / "w.npz")
    for name, kept, back in zip(["kernel", "bias", "gamma", "beta", "mean"], weights, read.get_weights(), strict=False):
        assert back == pytest.approx(kept, rel=1e-3, abs=1e-6), name
    assert (read.get_weights()[5] == np.finfo(np.float16).max).all()


def test_an_archive_is_replaced_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the one of photos, over which the same command goes again."""
    draw_tree(tmp_path / "data")
    monkeypatch.setattr(sys, "argv", ["pack", "--data", f"{tmp_path / 'data'}", "--out", f"{tmp_path / 'p.npz'}"])
    save_weights_npz(network(), tmp_path / "w.npz")
    pack.main()
    before = {file: file.read_bytes() for file in tmp_path.glob("*.npz")}

    def killed(stream: IO[bytes], **_: object) -> None:
        stream.write(b"PK")
        raise KeyboardInterrupt

    for name, write in (
        ("savez_compressed", lambda: save_weights_npz(network(), tmp_path / "w.npz")),
        ("savez", pack.main),
    ):
        monkeypatch.setattr(np, name, killed)
        with pytest.raises(KeyboardInterrupt):
            write()
    assert {file: file.read_bytes() for file in tmp_path.glob("*.npz")} == before
    assert len(before) == 2


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights_npz(network(8), tmp_path / "w.npz")
    with pytest.raises(ConfigError, match="does not hold the weights"):
        load_weights_npz(network(9), tmp_path / "w.npz")


def test_a_file_that_is_no_archive_of_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "text").write_text("weights")
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "named.npz", kernel=np.zeros(3))
    for file in ("none", ".", "cut", "text", "array.npy", "named.npz"):
        with pytest.raises(ConfigError, match="cannot read") as caught:
            load_weights_npz(network(), tmp_path / file)
        assert caught.value.hint


def test_random_weights_are_glorot_wide_and_follow_the_seed() -> None:
    found = []
    for seed in (1, 1, 2):
        with drawn_by_numpy(seed):
            found.append(network(64).get_weights()[0])
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()
    assert found[0].std() == pytest.approx(np.sqrt(2 / (9 * (3 + 64))), rel=0.1)
