"""A run of `guarded` within seconds on JAX, with a tiny backbone, and its weights in the command that attacks them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

from securesplit.errors import ConfigError
from tests.training.drawn_photos import draw_collection
from training.data import pack
from training.network.model import shipped_network
from training.network.weights_npz import load_weights_npz, save_weights_npz
from training.release.guarded import joint, stages, weights
from training.release.guarded.__main__ import arguments

SIDE = 48
SIZES = {"backbone": "tiny", "cut": "middle", "channels": 2, "rebuilders": "linear", "views": "none"}
OPTIONS = [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_ends_in_time_and_its_weights_can_be_attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.training import tiny  # the backbone

    draw_collection(tmp_path / "data")
    photos, network, run = (tmp_path / name for name in ("photos.npz", "network.npz", "run"))
    monkeypatch.setattr(sys, "argv", [*f"pack --data {tmp_path}/data --side {SIDE} --out {photos}".split()])
    pack.main()
    undefended = shipped_network("tiny", SIDE)
    undefended.get_layer("malignant").set_weights([np.zeros((16, 1)), np.array([5.0])])
    save_weights_npz(undefended, network)
    load_weights_npz(undefended, network)
    attack_alone = ["--run", str(run), "--press-steps", "0", "--tail-steps", "0", *OPTIONS]
    begin = joint.models_of(*stages.stages(undefended, arguments().parse_args(attack_alone)))
    begin["tail"].set_weights([*begin["tail"].get_weights()[:-1], np.array([-5.0])])
    weights.save(begin, tmp_path / "begin.npz")
    weights.load(begin, tmp_path / "begin.npz")
    command = ["--photos", photos, "--network", network, "--start", tmp_path / "begin.npz"]
    command += ["--side", SIDE, "--framing", "centre square", "--run", run]
    command += ["--learn", 0, "--learning-rate", 0.001, "--blocks", 0, "--precision", "float32", *OPTIONS]
    tiny.run_on_jax("training.release.guarded.accelerated", *command, "--seconds", 1, "--batch", 8)
    record = json.loads((run / "accelerated.json").read_text(encoding="utf-8"))
    assert record["steps"] % 8 == 0 < record["steps"]
    assert {"task", "read", "linear", "linker", "profiler", "auc", "probe", "ridge"} <= set(record)
    assert record["task"] > 3, "the target is the undefended answer, not that of the tail which it starts from"
    before = {name: model.get_weights() for name, model in begin.items()}
    weights.load(begin, run / "guarded.npz")
    for name, model in begin.items():
        moved = [np.abs(new - old).max() for new, old in zip(model.get_weights(), before[name], strict=True)]
        assert 0 < max(moved) < 0.1, f"{name}: trained, from where it began"
    other = arguments().parse_args([*attack_alone, "--channels", "3"])
    with pytest.raises(ConfigError, match="holds no encoder of these sizes"):
        weights.load(joint.models_of(*stages.stages(undefended, other)), run / "guarded.npz")
