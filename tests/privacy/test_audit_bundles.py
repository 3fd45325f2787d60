"""Audits of small bundles of many shapes end with a verdict, in time, and what did not run is not a pass."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import keras
from keras import layers

from securesplit.audit import goals, photos, report, suite
from securesplit.audit.results import NotRun
from securesplit.cli.main import run
from securesplit.errors import ConfigError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, packing
from securesplit_testing.audits import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

SIDE = 24
SMALL = replace(TINY, side=16, decoder_updates=3, averaged=(1,), epsilons=())


def convolved(filters: int, strides: int) -> Callable[[Any], Any]:
    return layers.Conv2D(filters, 3, strides=strides, padding="same", activation="relu", name="cut")


def dense(units: int) -> Callable[[Any], Any]:
    return lambda x: layers.Dense(units, name="cut")(layers.Flatten()(x))


def one_place(x: Any) -> Any:
    return layers.GlobalAveragePooling2D(keepdims=True, name="cut")(layers.Conv2D(4, 3, activation="relu")(x))


HEADS = {
    "one convolution": convolved(4, 2),
    "dense only": dense(16),
    "one number": dense(1),
    "maps of one place": one_place,
    "large maps": convolved(16, 1),
    "two convolutions": lambda x: convolved(4, 2)(layers.Conv2D(4, 3, activation="relu")(x)),
}


def bundle_of(head: Callable[[Any], Any], folder: Path) -> Bundle:
    keras.utils.set_random_seed(1)
    photo = keras.Input((SIDE, SIDE, 3))
    cut = head(layers.Rescaling(1 / 255)(photo))
    network = keras.Model(photo, layers.Dense(1, "sigmoid", name="answer")(layers.Flatten()(cut)), name="tiny")
    drawn = np.stack([draw_lesion(seed, SIDE) for seed in range(6)])
    packed = packing.pack(network, "cut", drawn, precision="float32")
    about = {"licence": "CC0", "provenance": {}}
    packing.write_bundle(folder, packed, name="tiny", backbone="tiny", cut="cut", side=SIDE, about=about)
    return Bundle.load(folder)


@pytest.mark.parametrize("head", HEADS)
def test_every_shape_of_head_gets_a_verdict(tmp_path: Path, head: str) -> None:
    context = suite.prepare(
        bundle_of(HEADS[head], tmp_path / "bundle"), None, tmp_path / "out", SMALL, (), lambda _: None
    )
    audit = report.finish(suite.run(context, lambda _: None))
    report.write(audit, context, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert written["state"] in goals.STATES
    assert sum(written["states"].values()) == len(written["goals"])
    assert {goal["state"] for goal in written["goals"]} <= set(goals.STATES)
    failed = [r["reason"] for r in written["results"] if r["kind"] == "not run" and "it failed" in r["reason"]]
    assert not failed


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(HEADS["two convolutions"], tmp_path_factory.mktemp("small") / "bundle")


def test_the_command_keeps_its_time(
    small: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos, heads and report included; what there was no time for is named, and the exit code says so."""
    monkeypatch.setattr("securesplit.device.promise.CLAIMLESS", ())
    started = time.monotonic()
    arguments = ["--model", str(small.folder), "--minutes", str(MINUTES), "--format", "json", "--out", str(tmp_path)]
    code = run(["audit", *arguments])
    taken = time.monotonic() - started
    assert taken < 60 * MINUTES + LONGEST_STEP_S
    audit = json.loads(capfd.readouterr().out)
    missing = [r for r in audit["results"] if r["kind"] == "not run" and "no time was left" in r["reason"]]
    assert audit["states"]["not run"] > 0
    assert missing
    assert code == (12 if audit["valid"] and audit["states"]["failed"] else 13)


MINUTES, LONGEST_STEP_S = 0.15, 15.0
"""A step that was begun is not broken off."""


def test_an_attack_that_fails_has_not_passed(small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise ValueError("no such shape")

    def leaving(*_: Any) -> None:
        raise SystemExit("no such shape")

    monkeypatch.setattr("securesplit.audit.attacks.ridge.reconstruct", failing)
    monkeypatch.setattr("securesplit.audit.attacks.identification.label_only", leaving)
    context = suite.prepare(small, None, tmp_path, SMALL, (), lambda _: None)
    audit = report.finish(suite.run(context, lambda _: None))
    failed = {r.attack for r in audit.of(NotRun) if "it failed (ValueError: no such shape)" in r.reason}
    assert "A1" in failed
    assert any("it failed (SystemExit: no such shape)" in r.reason for r in audit.of(NotRun))
    assert not audit.valid  # the positive control is one of them
    assert audit.state == goals.NOT_RUN
    rebuilding = [goal for goal in audit.goals if "A1 not run" in goal.claim]
    assert len(rebuilding) == 2
    assert "passed" not in {goal.state for goal in rebuilding}
    report.write(audit, context, tmp_path)
    monkeypatch.undo()
    again = report.finish(suite.run(context, lambda _: None))  # what failed is tried again
    assert again.valid


def test_nothing_is_read_where_the_audit_cannot_be(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half that is missing, too little time, another audit's folder."""
    monkeypatch.setattr(photos, "load", lambda *_, **__: pytest.fail("photos were read"))
    (tmp_path / "claimed" / "work").mkdir(parents=True)
    bundle = str(small.folder)
    for damaged in ("{", "[" * 100_000):
        (tmp_path / "claimed" / "work" / "audit.json").write_text(damaged)
        assert run(["audit", "--model", bundle, "--out", str(tmp_path / "claimed")]) == 2
    slow = replace(SMALL, minutes=1e-6)
    with pytest.raises(ConfigError, match="minutes are too few"):
        suite.prepare(small, None, tmp_path / "slow", slow, (), lambda _: None)
    headless = tmp_path / "headless"
    headless.mkdir()
    for name in ("manifest.json", "head.tflite"):
        (headless / name).write_bytes((small.folder / name).read_bytes())
    assert run(["audit", "--model", str(headless), "--out", str(tmp_path / "out")]) == 9
