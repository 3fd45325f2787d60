"""The network of the shipped bundle, read back from its LiteRT halves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.privacy.release import release
from training.bundle.default import held_out
from training.data.photo import DataError
from training.network import run_record, warm_start
from training.network.warm_start import network_of
from training.network.weights_npz import save_weights_npz

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


def test_weights_of_an_archive_become_a_run_with_what_is_known_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Presets behind such a network do not learn from what it held out either."""

    def small(_backbone: str = "") -> keras.Model:
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])

    written, run = small(), tmp_path / "run"
    save_weights_npz(written, tmp_path / "network.npz")
    (tmp_path / "run.json").write_text(json.dumps({"config": {"hold_out": "isic9,phone/4"}, "val_auc": 0.9}))
    monkeypatch.setattr(warm_start, "shipped_network", small)
    monkeypatch.setattr("sys.argv", ["warm_start", "--npz", str(tmp_path / "network.npz"), "--run", str(run)])
    warm_start.main()
    found = small()
    found.load_weights(str(run_record.best_weights(run)))
    for kept, back in zip(written.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(back, kept, rtol=1e-3)
    assert run_record.best_epoch(run)["val_auc"] == 0.9
    assert held_out(run) == ["isic9", "phone/4"]


@pytest.mark.slow
def test_the_network_computes_what_the_bundle_computes() -> None:
    bundle = Bundle.load(None)
    photos = [draw_lesion(seed, 150) for seed in range(3)]
    head, tail, spec = bundle.open_head(), bundle.open_tail(threads=1), bundle.presets["none"].spec
    deployed = [tail("none", release(head(photo)["none"], spec, None)[None])[0] for photo in photos]
    rebuilt = network_of(bundle).predict(np.stack(photos).astype(np.float32), verbose=0)["malignant"][:, 0]
    assert np.ptp(deployed) > 0.1
    np.testing.assert_allclose(rebuilt, deployed, atol=0.02)  # the cut travels as integers, step 1/256


@pytest.mark.slow
def test_a_bundle_of_another_network_is_refused() -> None:
    bundle = Bundle.load(None)
    other = replace(bundle, manifest=replace(bundle.manifest, backbone="mobilenet_v2"))
    with pytest.raises(DataError, match="no weights of layer Conv1"):
        network_of(other)
