"""A small network is cut, timed and attacked for real. Needs TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras

from securesplit.audit import cut_leakage
from securesplit.cli.main import run
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import cut_timing, packing, splitting
from securesplit.model.litert import open_interpreter
from securesplit.model.litert_halves import GIVES, SIGNATURE, TAKES, WholeNetwork
from tests.cli.test_json_document import faults

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

SIDE = 40
CUTS = ["stem", "join", "conv", "bn", "relu", "pool"]


@pytest.fixture(scope="module")
def network() -> Any:
    """Pixels 0..1 -> logit, with a branch and a batch norm that is folded into its convolution."""
    keras.utils.set_random_seed(3)
    photo = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="stem")(photo)
    branch = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="branch")(x)
    x = keras.layers.Add(name="join")([x, branch])
    x = keras.layers.Conv2D(16, 3, strides=2, use_bias=False, name="conv")(x)
    x = keras.layers.BatchNormalization(name="bn", beta_initializer="random_normal")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(photo, keras.layers.Dense(1, name="answer")(x), name="small")
    network.get_layer("bn").gamma.assign(np.linspace(0.2, 3, 16))
    return network


@pytest.fixture
def few_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut_leakage, "AUXILIARY", 40)
    monkeypatch.setattr(cut_leakage, "TARGETS", 40)


def test_halves_of_the_converted_network_are_the_network(network: Any) -> None:
    photo = draw_lesion(3, SIDE)
    maps = splitting.maps_at(network, [*CUTS, splitting.ANSWER], "0..1")(photo[None])
    whole = WholeNetwork(packing.pack_whole(network, precision="float16", pixels="0..1"))
    tensors = whole.tensors_of(photo.astype(np.float32), {layer: maps[layer][0] for layer in CUTS})
    assert set(CUTS) - set(tensors) == {"conv", "bn"}  # one operation with the ReLU behind them
    for layer, tensor in tensors.items():
        head, tail = (open_interpreter(half, 1).get_signature_runner(SIGNATURE) for half in whole.halves(tensor))
        cut = head(**{TAKES: photo[None].astype(np.float32)})[GIVES]
        assert np.abs(cut[0] - maps[layer][0]).max() <= 0.02 * np.abs(maps[layer]).max()
        assert tail(**{TAKES: cut})[GIVES].item() == pytest.approx(maps[splitting.ANSWER].item(), abs=0.01)
    with_branch = splitting.maps_at(network, ["branch"], "0..1")(photo[None])["branch"][0]
    assert whole.tensors_of(photo.astype(np.float32), {"branch": with_branch}) == {}


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (keras.layers.Rescaling(np.inf), "answer holds numbers that are not finite"),
        (lambda x: keras.ops.mean(x, axis=0, keepdims=True), "gives 1 answers for 16 photos"),
    ],
    ids=["not finite", "mean of a batch"],
)
def test_what_answers_nothing_of_a_photo_is_refused(
    end: Any, message: str, few_photos: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = keras.Input((SIDE, SIDE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(photo))
    keras.Model(photo, end(keras.layers.Dense(1)(pooled))).save(tmp_path / "odd.keras")
    assert run(["cuts", str(tmp_path / "odd.keras"), "--measure", "--seconds", "1"]) == 9
    assert message in capfd.readouterr().err


def test_times_of_the_whole_stay_where_no_cut_is_found(network: Any) -> None:
    whole = WholeNetwork(packing.pack_whole(network, precision="float16", pixels="0..1"))
    times, cuts = cut_timing.measure(whole, {}, threads=1, seconds=0.0)
    assert times.median_ms > 0
    assert cuts == {}


@pytest.mark.parametrize(
    "measured", [[], ["--measure", "--pixels", "0..1", "--seconds", "1"]], ids=["listed", "little time, no link"]
)
def test_whatever_was_measured_is_said_in_the_fields_of_the_document(
    network: Any, few_photos: None, measured: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network.save(tmp_path / "small.keras")
    assert run(["cuts", str(tmp_path / "small.keras"), *measured, "--format", "json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert faults("cuts", answer) == []
    assert (answer["measurement"] is not None) is bool(measured)
    assert [row["layer"] for row in answer["cuts"]] == CUTS


def test_measure_recommends_a_cut(
    network: Any, few_photos: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network.save(tmp_path / "small.keras")
    asked = ["cuts", str(tmp_path / "small.keras"), "--measure", "--pixels", "0..1", "--seconds", "600"]
    asked += ["--bandwidth", "10Mbit/s", "--round-trip", "3", "--plot", str(tmp_path / "cuts.png")]
    assert run([*asked, "--format", "json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    rows = {row["layer"]: row["measured"] for row in answer["cuts"]}
    assert list(rows) == CUTS
    for row in rows.values():
        latency = row["latency"]
        assert latency["head_ms"] == row["head"]["median_ms"] > 0
        assert latency["transfer_ms"] == pytest.approx(3 + row["request_bytes"] * 8 / 10_000)
        assert latency["total_ms"] == pytest.approx(latency["head_ms"] + latency["transfer_ms"] + latency["tail_ms"])
        assert row["head"]["p95_ms"] >= row["head"]["median_ms"]
    assert rows["stem"]["skill"]["mean"] > 0.8 > rows["pool"]["skill"]["mean"]
    assert rows["stem"]["request_bytes"] - rows["pool"]["request_bytes"] == 2 * (19 * 19 * 8 - 16)
    assert answer["recommendation"]["layer"] == "pool"
    assert answer["measurement"]["auxiliary"] == 40
    assert faults("cuts", answer) == []
    assert (tmp_path / "cuts.png").read_bytes().startswith(b"\x89PNG")
