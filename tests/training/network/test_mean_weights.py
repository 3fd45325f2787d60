"""The mean of networks' weights, some of the way from what they began with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from securesplit.errors import ConfigError
from securesplit.model import backbones
from tests.training.drawn_photos import draw_collection
from training.bundle.default import held_out
from training.network import mean_weights, run_record
from training.network.config import Config
from training.network.model import build_model, shipped_network
from training.network.train import shipped_of

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

HELD_OUT = {"a": "isic9,komour", "b": "komour", "c": "komour,phone/0"}


def config(hold_out: str = "") -> Config:
    return Config("unlisted", side=32, outputs="auxiliary", batch_norm="frozen", hold_out=hold_out)


def build(*, include_top: bool, weights: None, input_tensor: Any) -> keras.Model:
    """A backbone that costs nothing."""
    x = keras.layers.Conv2D(6, 3, strides=4, activation="relu", name="stem")(input_tensor)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


def record_of(run: Path, settings: Config) -> run_record.RunRecord:
    made_from: run_record.MadeFrom = {
        "config": settings.to_json(),
        "data_sha256": None,
        "weights": None,
        "teacher": None,
        "start": None,
    }
    return run_record.RunRecord(run, made_from, {}, 0)


def save(run: Path, seed: int, settings: Config | None) -> list[np.ndarray]:
    """A run of one epoch; without `settings`, what was read back from a bundle."""
    keras.utils.set_random_seed(seed)
    network = build_model(settings or config())
    run.mkdir()
    network.save_weights(str(run_record.best_weights(run)))
    run_record.write_best_epoch(run, {"epoch": 1})
    if settings is not None:
        record_of(run, settings).begin()
    return list(network.get_weights())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A start, three runs and photos."""
    monkeypatch.setattr(keras.applications, "Unlisted", build, raising=False)
    monkeypatch.setitem(backbones.BACKBONES, "unlisted", backbones.Backbone("Unlisted", cut="stem"))
    draw_collection(tmp_path / "data")
    return tmp_path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *runs: str, share: str = "0.75") -> list[np.ndarray]:
    of = [part for name in runs for part in ("--mean-of", str(folder / name))]
    command = ["mean_weights", "--data", str(folder / "data"), "--start", str(folder / "start"), *of]
    monkeypatch.setattr("sys.argv", [*command, "--share", share, "--run", str(folder / "mean")])
    mean_weights.main()
    network = shipped_network("unlisted", 32)
    network.load_weights(str(run_record.best_weights(folder / "mean")))
    return list(network.get_weights())


@pytest.mark.parametrize("share", ["0", "0.75", "1"])
def test_it_lies_some_of_the_way_from_the_start_to_the_mean(
    folder: Path, monkeypatch: pytest.MonkeyPatch, share: str
) -> None:
    start = save(folder / "start", 0, None)
    ends = [save(folder / name, seed, config(HELD_OUT[name])) for seed, name in enumerate("abc", 1)]
    found = run(folder, monkeypatch, *"abc", share=share)
    for place, weight in enumerate(found):
        mean = np.mean([end[place] for end in ends], axis=0)
        np.testing.assert_allclose(weight, start[place] + float(share) * (mean - start[place]), atol=1e-6)


def test_it_has_held_out_what_all_have(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Presets behind it then do not learn from that either, and the figures count it."""
    save(folder / "start", 0, None)
    for seed, name in enumerate("abc", 1):
        save(folder / name, seed, config(HELD_OUT[name]))
    run(folder, monkeypatch, *"abc")
    assert held_out(folder / "mean") == ["komour"]
    told = run_record.best_epoch(folder / "mean")
    assert [each["run"] for each in told["mean_of"]] == ["a", "b", "c"]
    assert told["start"]["run"] == "start"
    assert len({each["weights_sha256"] for each in (told["start"], *told["mean_of"])}) == 4
    assert "val_auc_komour" in told
    assert f"val_auc_komour {told['val_auc_komour']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"outputs": "final"}, {"pixels": "0..1"}])
def test_it_is_of_the_network_that_its_runs_are_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    settings = replace(config(), **other)
    runs = {name: save(folder / name, seed, settings) for seed, name in enumerate(("start", "a", "b"))}
    built: list[Config] = []
    monkeypatch.setattr(mean_weights, "build_model", lambda of: (built.append(of), build_model(of))[1])
    command = ["mean_weights", "--data", str(folder / "data"), "--start", str(folder / "start"), "--share", "1"]
    ends = ["--mean-of", str(folder / "a"), "--mean-of", str(folder / "b"), "--run", str(folder / "mean")]
    monkeypatch.setattr("sys.argv", [*command, *ends])
    mean_weights.main()
    assert [of.pixels for of in built] == [settings.pixels]
    network = build_model(settings)
    network.load_weights(str(run_record.best_weights(folder / "mean")))
    for place, weight in enumerate(network.get_weights()):
        np.testing.assert_allclose(weight, (runs["a"][place] + runs["b"][place]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ({}, "a run of side=32, and this takes 150"),
        ({"side": 150, "pixels": "0..1"}, r"pixels=0\.\.1, and this takes pretrained"),
        ({"side": 150, "outputs": "final"}, "outputs=final, and this takes auxiliary"),
        ({"side": 150, "backbone": "mobilenet_v2"}, "backbone=mobilenet_v2, and this takes unlisted"),
    ],
)
@pytest.mark.parametrize("is_a_run", [True, False])
def test_presets_are_made_behind_no_other_network(folder: Path, of: dict[str, Any], told: str, is_a_run: bool) -> None:
    """Its weights may fit, as convolutions do whatever the photos' size or scale: its answers would be wrong."""
    settings = replace(config(), **of)
    (folder / "a").mkdir()
    if is_a_run:
        record_of(folder / "a", settings).begin()
    else:
        run_record.write_best_epoch(folder / "a", {"epoch": 0, "config": settings.to_json()})
    with pytest.raises(ConfigError, match=told) as caught:
        shipped_of(folder / "a", "unlisted")
    assert "from_run" in caught.value.hint


def test_presets_need_the_weights_of_a_run(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        shipped_of(folder / "nowhere", "unlisted")


@pytest.mark.parametrize(
    ("runs", "refused"),
    [
        ("ax", "no run in .*x"),
        ("ad", "d is of outputs=final, not auxiliary"),
        ("ae", "e is of pixels=0..1, not pretrained"),
        ("af", "best.weights.h5 does not fit: no such file"),
    ],
)
def test_what_is_no_run_of_such_a_network_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, runs: str, refused: str
) -> None:
    save(folder / "start", 0, None)
    save(folder / "a", 1, config())
    save(folder / "d", 2, Config("unlisted", side=32, outputs="final"))
    save(folder / "e", 3, replace(config(), pixels="0..1"))
    save(folder / "f", 4, config())
    run_record.best_weights(folder / "f").unlink()
    with pytest.raises(ConfigError, match=refused) as caught:
        run(folder, monkeypatch, *runs)
    assert caught.value.hint
    assert not (folder / "mean").exists()
