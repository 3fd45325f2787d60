"""The gate of a bundle: read like the rest of it, quick, and of its own head."""

from __future__ import annotations

import hashlib
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.device.release_step import Releaser
from securesplit.errors import BundleError
from securesplit.imaging import quality
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, gate
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.litert import Head
from tests.manifests import changed_manifest
from training.gate import textures

GOOD: dict[str, Any] = json.loads((DEFAULT_FOLDER / gate.FILE).read_text())
HEIGHT, WIDTH, CHANNELS = GOOD["shape"]
MOST_MS = 10.0


@pytest.fixture(scope="module")
def head() -> Head:
    return Bundle.load().open_head()


def put(folder: Path, content: bytes) -> None:
    """A gate whose hash the manifest has."""
    (folder / gate.FILE).write_bytes(content)
    with changed_manifest(folder) as raw:
        raw["gate"][gate.FILE] = hashlib.sha256(content).hexdigest()


def test_what_is_written_is_read_back() -> None:
    assert gate.to_json(gate.parse(json.dumps(GOOD).encode())) == GOOD


def test_it_is_small_and_quick() -> None:
    assert (DEFAULT_FOLDER / gate.FILE).stat().st_size <= gate.MAX_BYTES
    bundle = Bundle.load()
    head, pixels = bundle.open_head(), draw_lesion(1, bundle.manifest.side)
    judge = bundle.open_gate(head)
    assert judge is not None
    feature_map, times = head(pixels)[judge.output], []
    for _ in range(15):
        started = time.thread_time()
        quality.check(pixels, 300)
        judge.judge(feature_map, quality.measure(pixels))
        times.append(1e3 * (time.thread_time() - started))
    assert min(times) <= MOST_MS


def test_drawn_lesions_pass_and_drawn_textures_do_not() -> None:
    releaser = Releaser(Bundle.load(), bytes(32))
    lesions = [releaser.release(draw_lesion(seed, 300)).assessment for seed in range(25)]
    assert [a.reason for a in lesions] == [None] * len(lesions)
    assert {a.kind for a in lesions} <= {"dermoscopy", "phone"}
    drawn = [releaser.release(textures.draw_texture(9_000_000 + seed, 300)).assessment for seed in range(48)]
    assert sum(a.reason is not None for a in drawn) >= 47


def test_a_bundle_without_a_gate_uses_pixels_only(folder: Path) -> None:
    with changed_manifest(folder) as raw:
        del raw["gate"]
    (folder / gate.FILE).unlink()
    bundle = Bundle.load(folder)
    assert bundle.open_gate(bundle.open_head()) is None
    assert bundle.id == Bundle.load().id, "the gate is no part of what both sides share"
    releaser = Releaser(bundle, bytes(32))
    assert releaser.release(draw_lesion(1, 300)).assessment.reason is None
    assert releaser.release(draw_lesion(1, 60)).assessment.reason == "low-resolution"
    assert releaser.release(draw_lesion(1, 300)).assessment.kind is None


def test_an_altered_or_missing_gate_is_an_error(folder: Path, head: Head) -> None:
    content = (folder / gate.FILE).read_bytes()
    (folder / gate.FILE).write_bytes(content + b" ")
    with pytest.raises(BundleError, match=r"gate\.json was altered"):
        Bundle.load(folder).open_gate(head)
    (folder / gate.FILE).unlink()
    with pytest.raises(BundleError, match=r"has no gate\.json"):
        Bundle.load(folder).open_gate(head)


def changed(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (pytest.fail, ("a pickle was loaded",))


BAD: dict[str, bytes] = {
    "no JSON": b"{",
    "a pickle": pickle.dumps(_Evil()),
    "another schema": changed(schema="securesplit.gate/2"),
    "larger than allowed": changed(output="x" * gate.MAX_BYTES),
    "a map of another head": changed(output="compact"),
    "an output that is not there": changed(output="nothing"),
    "a shape of two numbers": changed(shape=[HEIGHT, CHANNELS]),
    "a huge shape": changed(shape=[HEIGHT, WIDTH, 1 << 40]),
    "a negative shape": changed(shape=[HEIGHT, WIDTH, -CHANNELS]),
    "a map of another height": changed(shape=[HEIGHT - 1, WIDTH, CHANNELS]),
    "too many units": changed(hidden_units=1 << 20),
    "weights that are too short": changed(hidden_weights=GOOD["hidden_weights"][:-8]),
    "weights that are not text": changed(hidden_weights=[1.0]),
    "weights that are not base64": changed(hidden_biases="é" * 10),
    "weights that are no numbers": changed(hidden_biases=gate.base64.b64encode(b"\0\0\xc0\x7f" * 64).decode()),
    "a scale of zero": changed(scale=gate.base64.b64encode(bytes(4 * (5 * CHANNELS + gate.MEASURES))).decode()),
    "an unknown class": changed(classes=["ok", "nonsense"]),
    "classes without ok": changed(classes=["blur", "ok"]),
    "classes that are not text": changed(classes=[{}, []]),
    "one kind only": changed(kinds={"phone": GOOD["kinds"]["phone"]}),
    "a kind that is not an object": changed(kinds={**GOOD["kinds"], "phone": 3}),
    "an ok that is not a share": changed(kinds={**GOOD["kinds"], "phone": {**GOOD["kinds"]["phone"], "ok": 2}}),
    **{f"no {name}": without(name) for name in GOOD},
}


@pytest.mark.parametrize("name", BAD)
def test_a_hostile_gate_is_an_error_with_a_hint(name: str, folder: Path, head: Head) -> None:
    put(folder, BAD[name])
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder).open_gate(head)
    assert caught.value.hint


MANIFESTS: dict[str, Any] = {
    "gate is not an object": 3,
    "no hash": {"kinds": {}},
    "no kinds": {gate.FILE: "0" * 64},
    "an unknown kind": {gate.FILE: "0" * 64, "kinds": {"x-ray": {}}},
    "learned is no truth": {gate.FILE: "0" * 64, "kinds": {k: {"learned": 1} for k in ("phone", "dermoscopy")}},
    "a figure beyond 1": {
        gate.FILE: "0" * 64,
        "kinds": {k: {"learned": False, "photos": 1, "figures": {"none": {"auc": 2}}} for k in ("phone", "dermoscopy")},
    },
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_of_a_gate_is_an_error(name: str, folder: Path) -> None:
    with changed_manifest(folder) as raw:
        raw["gate"] = MANIFESTS[name]
    with pytest.raises(BundleError, match="manifest is damaged"):
        Bundle.load(folder)


def test_features_tell_middle_from_border_and_sides_apart() -> None:
    measures = np.zeros(gate.MEASURES, np.float32)
    left = np.zeros((5, 5, 1), np.float32)
    left[:, :2] = 1
    middle = np.zeros((5, 5, 1), np.float32)
    middle[2, 2] = 1
    assert gate.features(left, measures)[:5] == pytest.approx([0.4, 0.4899, 1 / 3 - 7 / 16, 1, 0], abs=1e-3)
    assert gate.features(middle, measures)[:5] == pytest.approx([0.04, 0.196, 1 / 9, 0, 0], abs=1e-3)
