"""A comparison of variants that is killed resumes, and its table says what each brought. Needs TensorFlow."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from securesplit.errors import ConfigError
from tests.training.drawn_photos import draw_isic, listed
from tests.training.forked import LINE, Forks
from training.data.dataset import Dataset
from training.network.config import named

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"),
]


def test_the_table_holds_differences_of_the_same_seed_best_first() -> None:
    compare = pytest.importorskip("training.studies.ablation")  # it loads Keras
    around = {"monitor": "auc", "photos": 100, "backbone": "tiny", "side": 48, "epochs": 2}
    runs = {
        compare.BASE: {"1": {"val_auc": 0.80}, "2": {"val_auc": 0.90}},
        "mixup=0.2": {"1": {"val_auc": 0.79}, "2": {"val_auc": 0.90}},
        "focal=2": {"1": {"val_auc": 0.82}},
        "hairs=2": {},
    }
    content = {"around": around, "runs": runs}
    found = compare.differences(content, "val_auc")
    assert {name: pytest.approx(values) for name, values in found.items()} == {
        "mixup=0.2": [-0.01, 0],
        "focal=2": [0.02],
    }
    lines = compare.markdown(content).splitlines()
    assert lines[-3:] == [
        "| as it is | 0.850 (0.800 to 0.900) | 2 |",
        "| `focal=2` | +0.020 | 1 |",
        "| `mixup=0.2` | -0.005 (-0.010 to +0.000) | 2 |",
    ]


def test_runs_that_diverge_are_noted_and_stand_for_nothing() -> None:
    compare = pytest.importorskip("training.studies.ablation")
    around = {"monitor": "auc", "photos": 100, "backbone": "tiny", "side": 48, "epochs": 2}
    runs = {
        compare.BASE: {"1": {"val_auc": 0.80}, "2": None, "3": {"val_auc": 0.90}},
        "focal=9": {"1": None, "2": {"val_auc": 0.9}, "3": None},
        "focal=2": {"1": {"val_auc": 0.82}, "2": {"val_auc": 0.99}, "3": None},
    }
    content = {"around": around, "runs": runs}
    found = compare.differences(content, "val_auc")
    assert {name: pytest.approx(values) for name, values in found.items()} == {"focal=9": [], "focal=2": [0.02]}
    assert compare.markdown(content).splitlines()[-3:] == [
        "| as it is | 0.850 (0.800 to 0.900) | 3, 1 diverged |",
        "| `focal=2` | +0.020 | 3, 1 diverged |",
        "| `focal=9` | – | 3, 2 diverged |",
    ]


@pytest.mark.filterwarnings("ignore")
def test_a_comparison_goes_on_after_a_run_that_diverges(tmp_path: Path) -> None:
    """Weights that are no numbers make every run diverge in its first epoch."""
    compare = pytest.importorskip("training.studies.ablation")
    model = pytest.importorskip("training.network.model")
    pytest.importorskip("tests.training.tiny")  # the backbone
    draw_isic(tmp_path / "data")
    data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
    settings = ("backbone=tiny", "side=48", "outputs=final", "balance=equal", "per_class=8", "epochs=1", "batch=4")
    config = named("dermoscopy", settings)
    network = model.build_model(config)
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    network.save_weights(str(start := tmp_path / "start.weights.h5"))
    out = tmp_path / "compare"
    for _ in range(2):
        with pytest.raises(ConfigError, match="the configuration itself diverged"):
            compare.compare(config, ["mixup=0"], data, out, seeds=1, start=start)
        content = json.loads((out / compare.FILE).read_text())
        assert content["runs"] == {compare.BASE: {"1": None}, "mixup=0": {"1": None}}
    assert "| `mixup=0` | – | 1, 1 diverged |" in (out / "compare.md").read_text()


def test_a_comparison_of_other_photos_is_another_one(tmp_path: Path) -> None:
    compare = pytest.importorskip("training.studies.ablation")
    config, (mine, others) = named("dermoscopy"), (listed(name) for name in "ab")
    done = {compare.BASE: {"1": {"val_auc": 0.5}}}
    for about in ({}, {"data_sha256": mine.digest}):  # earlier ones do not name their photos
        content = {"schema": compare.SCHEMA, "around": {**config.to_json(), **about}, "runs": done}
        (tmp_path / compare.FILE).write_text(json.dumps(content))
        assert compare.compare(config, [], mine, tmp_path, seeds=1)["runs"] == done
    with pytest.raises(ConfigError, match="of other photos"):
        compare.compare(config, [], others, tmp_path, seeds=1)


def test_a_killed_comparison_goes_on(forks: Forks, tmp_path: Path) -> None:
    draw_isic(tmp_path / "data")
    out = tmp_path / "compare"
    settings = ("backbone=tiny", "side=48", "outputs=final", "balance=equal", "per_class=8", "epochs=1", "batch=4")
    variant = "mixup=0.2,label_smoothing=0"
    command = [
        *(*LINE, "training.studies.ablation", variant),
        *("--data", str(tmp_path / "data"), "--out", str(out), "--seeds", "2"),
        *(part for setting in settings for part in ("--set", setting)),
    ]
    forks.kill(command, once=(out / "compare.json").is_file)
    begun = json.loads((out / "compare.json").read_text())
    kept = begun["runs"]["as it is"]["1"]
    kept["val_auc"] = 0.125  # no figure that a run would end with: one that is trained again tells on itself
    (out / "compare.json").write_text(json.dumps(begun))
    done = forks.run(command)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((out / "compare.json").read_text())
    assert found["runs"]["as it is"]["1"] == kept
    assert {name: sorted(runs) for name, runs in found["runs"].items()} == {"as it is": ["1", "2"], variant: ["1", "2"]}
    assert (out / "compare.md").read_text() in done.stdout
    assert not (out / "run").exists()
    wrong = [part.replace("mixup", "colour") for part in command]
    for refusable, message in (
        ([*command, "--set", "side=40"], "around another configuration"),
        (wrong, "no KEY=VALUE"),
    ):
        refused = forks.run(refusable)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
