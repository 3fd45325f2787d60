"""A Keras network becomes a bundle that answers what the network answers. Needs TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
from click.testing import CliRunner
from PIL import Image

from securesplit.cli.main import cli, run
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.model.litert import Head
from securesplit.model.logits import logit_network
from securesplit.privacy.release import saturate, to_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

SIDE = 40


def small_network(activation: str | None, units: int = 1) -> Any:
    """A residual network of a student: pixels 0..1 -> sigmoid, softmax or logit."""
    keras.utils.set_random_seed(3)
    photo = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="stem")(photo)
    branch = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="branch")(x)
    x = keras.layers.Add(name="join")([x, branch])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(photo, keras.layers.Dense(units, activation, name="answer")(x), name="small")


def true_logit(answer: Any, activation: str | None) -> Any:
    if activation == "sigmoid":
        return np.log(answer / (1 - answer))[:, 0]
    if answer.shape[-1] == 2:
        return (np.log(answer) if activation == "softmax" else answer) @ np.array([-1.0, 1.0])
    return answer[:, 0]


@pytest.mark.parametrize(("activation", "units"), [(None, 1), ("sigmoid", 1), ("softmax", 2), (None, 2)])
def test_answers_become_one_logit(activation: str | None, units: int) -> None:
    network = small_network(activation, units)
    photos = np.random.default_rng(1).uniform(0, 1, (5, SIDE, SIDE, 3)).astype(np.float32)
    answer = network.predict(photos, verbose=0)
    found = logit_network(network).predict(photos, verbose=0)[:, 0]
    assert np.abs(found - true_logit(answer, activation)).max() < 1e-4


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_split_makes_a_bundle_that_answers(tmp_path: Path, precision: str) -> None:
    network = small_network("sigmoid")
    network.save(tmp_path / "small.keras")
    arguments = [
        *("split", str(tmp_path / "small.keras"), "--at", "join", "--out", str(tmp_path / "bundle")),
        *("--head-only", str(tmp_path / "phone.tflite"), "--pixels", "0..1", "--precision", precision),
        *("--licence", "CC0", "--provenance", "data=drawn", "--provenance", "author=me"),
    ]
    assert run(arguments) == 0
    bundle = Bundle.load(tmp_path / "bundle")
    assert (bundle.manifest.licence, bundle.manifest.provenance) == ("CC0", {"data": "drawn", "author": "me"})
    assert (bundle.manifest.cut, bundle.manifest.side, list(bundle.presets)) == ("join", SIDE, ["none"])
    head, tail, spec = bundle.open_head(), bundle.open_tail(), bundle.preset("none").spec
    photos = np.stack([draw_lesion(seed, SIDE) for seed in (31, 32, 33)])
    expected = true_logit(network.predict(photos / 255.0, verbose=0), "sigmoid")
    found = tail("none", np.stack([saturate(to_grid(head(p)["none"], spec), spec) for p in photos]))
    allowed = {"float32": 1e-3, "float16": 1e-2, "int8": 0.1}[precision]
    assert np.abs(found - expected).max() <= allowed * max(1.0, float(np.ptp(expected)))
    parity = bundle.preset("none").quality["parity"]
    assert parity["precision"] == precision
    assert parity["answer_error"] <= allowed
    phone = Head((tmp_path / "phone.tflite").read_bytes(), threads=1)
    assert (phone(photos[0])["none"] == head(photos[0])["none"]).all()


def test_the_bundle_diagnoses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small_network(None).save(tmp_path / "small.keras")
    Image.fromarray(draw_lesion(5)).save(tmp_path / "mole.png")
    assert run(["split", str(tmp_path / "small.keras"), "--at", "pool", "--out", str(tmp_path / "bundle")]) == 0
    capfd.readouterr()
    arguments = ["--embedded", "--model", str(tmp_path / "bundle"), "--privacy", "none", "--format", "json"]
    assert run(["diagnose", *arguments, str(tmp_path / "mole.png")]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["status"] == "ok"
    assert answer["model"]["name"] == "small-pool"


@pytest.mark.parametrize(("options", "by"), [([], "centre"), (["--framing", "lesion"], "lesion")])
def test_devices_show_a_network_the_square_that_was_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], by: str
) -> None:
    small_network(None).save(tmp_path / "small.keras")
    mole = np.asarray(Image.fromarray(draw_lesion(5)).resize((120, 120)))
    far = np.full((600, 600, 3), mole[[0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=0), np.uint8)
    far[240:360, 240:360] = mole
    Image.fromarray(far).save(tmp_path / "mole.png")
    bundle = str(tmp_path / "bundle")
    assert run(["split", str(tmp_path / "small.keras"), "--at", "pool", "--out", bundle, *options]) == 0
    capfd.readouterr()
    arguments = ["--embedded", "--model", bundle, "--privacy", "none", "--anyway", "--format", "json"]
    assert run(["diagnose", *arguments, str(tmp_path / "mole.png")]) == 0
    crop = json.loads(capfd.readouterr().out)["crop"]
    assert crop["by"] == by
    assert crop["right"] - crop["left"] < 0.5 or by == "centre"


def test_a_cut_too_large_to_travel_is_named_everywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its releases have 1.6 MB; such a device was told for 30 s that no worker answered."""
    photo = keras.Input((224, 224, 3))
    x = keras.layers.Conv2D(64, 3, strides=2, padding="same", name="early")(photo)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    keras.Model(photo, keras.layers.Dense(1, name="answer")(x), name="wide").save(tmp_path / "wide.keras")
    bundle = str(tmp_path / "bundle")
    assert run(["split", str(tmp_path / "wide.keras"), "--at", "early", "--out", bundle]) == 0
    assert "warning: a release of preset none has 1,605,632 bytes, and at most" in capfd.readouterr().err
    Image.fromarray(draw_lesion(5)).save(tmp_path / "mole.png")
    for command in (
        ["diagnose", "--embedded", str(tmp_path / "mole.png")],
        ["tail-worker", "--bind", "tcp://127.0.0.1:0"],
    ):
        assert run([*command, "--model", bundle]) == 9, command
        assert "has 1,605,632 bytes, and at most" in capfd.readouterr().err
    assert run(["release", str(tmp_path / "mole.png"), "--model", bundle, "--out", str(tmp_path / "r.npz")]) == 0


def test_refusals(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small_network(None, units=7).save(tmp_path / "seven.keras")
    seven, bundle = str(tmp_path / "seven.keras"), ["--out", str(tmp_path / "b")]
    for arguments, message in (
        (["--at", "pool"], "nothing to write"),
        (["--at", "pool", "--out", str(tmp_path)], "is there already"),
        (["--at", "pool", "--head-only", seven], "is there already"),
        (["--at", "pool", *bundle, "--head-only", str(tmp_path / "b")], "would lie in the bundle"),
        (["--at", "pool", *bundle, "--head-only", str(tmp_path / "b" / "head.tflite")], "would lie in the bundle"),
        (["--at", "pool", *bundle, "--weights", seven], "--weights is of a backbone by name"),
        (["--at", "branch", *bundle], "nearest valid cuts are stem and join"),
        (["--at", "pool", *bundle], "not in one logit"),
        (["--at", "pool", *bundle, "--provenance", "x"], "is not KEY=VALUE"),
        (["--at", "pool", *bundle, "--calibration", str(tmp_path)], "no photo in"),
    ):
        assert run(["split", seven, *arguments]) == 2, arguments
        error = capfd.readouterr().err
        assert message in error
        assert "hint: " in error
    assert not (tmp_path / "b").exists()
    assert run(["split", seven, "--at", "pool", "--head-only", str(tmp_path / "head.tflite")]) == 0


@pytest.mark.parametrize(
    ("side", "layer", "arguments", "message"),
    [
        (7, "cut", (), "side is not a whole number from 8 to 2048"),
        (2050, "cut", (), "side is not"),
        (32, "c" * 201, ("--name", "short"), "cut is not a line"),
        (32, "red\x1b[31m", (), "not a line"),
        (32, "cut", ("--name", "two\nlines"), "name is not a line"),
        (32, "cut", ("--licence", "\x1b[2J"), "licence is not printable"),
        (32, "cut", ("--provenance", "key=\udcff"), "surrogates not allowed"),
    ],
)
def test_no_bundle_is_written_that_no_reader_takes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], side: int, layer: str, arguments: tuple[str, ...], message: str
) -> None:
    """It is said before halves are made, and nothing is left behind."""
    photo = keras.Input((side, side, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, name=layer)(photo))
    keras.Model(photo, keras.layers.Dense(1)(x), name="odd").save(tmp_path / "odd.keras")
    out = tmp_path / "bundle"
    assert run(["split", str(tmp_path / "odd.keras"), "--at", layer, "--out", str(out), *arguments]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert "hint: " in error
    assert not out.exists()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_that_a_network_brings_along_is_not_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    """Keras keeps a lambda as bytecode in both kinds of file."""
    photo = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Lambda(lambda x: x * 2)(keras.layers.GlobalAveragePooling2D()(photo))
    file = tmp_path / f"lambda{suffix}"
    keras.Model(photo, keras.layers.Dense(1)(x)).save(file)
    assert run(["cuts", str(file)]) == 9
    assert "cannot load the network" in capfd.readouterr().err


def test_mixed_precision_and_odd_names(tmp_path: Path) -> None:
    """Weights are kept in float32 under a mixed policy, and TensorFlow takes no such names for its scopes."""
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        small_network("sigmoid").save(tmp_path / "mixed.keras")
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    photo = keras.Input((SIDE, SIDE, 3), name="ein Foto")
    x = keras.layers.Conv2D(4, 3, strides=2, name="erste Schicht")(photo)
    x = keras.layers.GlobalAveragePooling2D(name="größe>1 é")(x)
    keras.Model(photo, keras.layers.Dense(1, "sigmoid", name="ja oder nein?")(x), name="ein Netz").save(
        tmp_path / "odd.keras"
    )
    for model, layer in (("mixed", "join"), ("odd", "erste Schicht"), ("odd", "größe>1 é")):
        out = tmp_path / f"{model}-{len(layer)}"
        assert run(["split", str(tmp_path / f"{model}.keras"), "--at", layer, "--out", str(out)]) == 0
        assert Bundle.load(out).manifest.cut == layer
        assert np.isfinite(
            Bundle.load(out).open_tail()("none", np.ones((1, *Bundle.load(out).presets["none"].spec.shape)))
        )


def test_networks_that_are_kept_in_half_or_named_twice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    keras.config.set_dtype_policy("float16")
    try:
        small_network(None).save(tmp_path / "half.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    inner = small_network(None)
    outer = keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(3, 1, name="stem"), inner])
    outer.save(tmp_path / "twice.keras")
    for model, message in (("half", "in float16"), ("twice", '"stem" is used 2 times')):
        assert run(["cuts", str(tmp_path / f"{model}.keras")]) == 9
        error = capfd.readouterr().err
        assert message in error
        assert "hint: " in error


def test_int8_of_a_loop_is_refused_and_does_not_end_the_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = keras.Input((32, 32, 3))
    x = keras.layers.Reshape((16, 4), name="cut")(keras.layers.Conv2D(4, 8, strides=8)(photo))
    keras.Model(photo, keras.layers.Dense(1)(keras.layers.GRU(4)(x))).save(tmp_path / "loop.keras")
    split = ["split", str(tmp_path / "loop.keras"), "--at", "cut", "--out", str(tmp_path / "bundle")]
    assert run([*split, "--precision", "int8"]) == 2
    error = capfd.readouterr().err
    assert "has a loop" in error
    assert "hint: choose --precision float16" in error
    assert not (tmp_path / "bundle").exists()


def test_a_network_without_cuts_is_listed_with_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photo = keras.Input((32, 32, 3))
    sides = [keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(photo)) for _ in range(2)]
    keras.Model(photo, keras.layers.Average()(sides)).save(tmp_path / "pair.keras")
    assert run(["cuts", str(tmp_path / "pair.keras")]) == 0
    told = capfd.readouterr()
    assert len(told.out.splitlines()) == 1
    assert "cannot be cut anywhere" in told.err
    assert run(["cuts", str(tmp_path / "pair.keras"), "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["cuts"] == []


def test_cuts_in_text_and_json(tmp_path: Path) -> None:
    small_network(None).save(tmp_path / "small.keras")
    text = CliRunner().invoke(cli, ["cuts", str(tmp_path / "small.keras")]).output
    assert [line.split()[0] for line in text.splitlines()] == ["layer", "stem", "join", "pool"]
    answer = json.loads(CliRunner().invoke(cli, ["cuts", str(tmp_path / "small.keras"), "--format", "json"]).output)
    assert answer["schema"] == "securesplit.cuts/1"
    assert answer["cuts"][1] == {
        "layer": "join",
        "shape": [19, 19, 8],
        "float32_bytes": 4 * 19 * 19 * 8,
        "head_parameters": 808,
        "tail_parameters": 9,
        "head_multiply_adds": 19 * 19 * (27 * 8 + 72 * 8),
        "tail_multiply_adds": 8,
        "measured": None,
    }


def test_operations_that_litert_lacks_are_named_without_pages_of_mlir(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="stem")(photo)
    x = keras.ops.cumprod(keras.ops.erfinv(keras.ops.tanh(x)), axis=1)
    logit = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(photo, logit).save(tmp_path / "odd.keras")
    flags = ["--at", "stem", "--pixels", "0..1", "--out", str(tmp_path / "bundle")]
    assert run(["split", str(tmp_path / "odd.keras"), *flags]) == 9
    error = capfd.readouterr().err
    assert "error: the network cannot be converted to float16 (LiteRT has no Cumprod, Erfinv)\n" in error
    assert "hint: use layers of Keras that LiteRT knows" in error
    assert "MLIR" not in error
