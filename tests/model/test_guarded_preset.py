"""The preset ``guarded`` of a bundle: halves and a gate of its own, beside the common ones, which stay as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.device.promise import claim_of, describe, unprotected
from securesplit.device.release_step import Releaser
from securesplit.errors import BundleError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, manifest
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.gate import MAP
from securesplit.model.guarded_preset import GATE, HEAD, TAIL
from securesplit.privacy.accounting import DELTA
from securesplit_testing.guarded import COPIED, write_guarded_bundle
from tests.model.test_hostile_bundle import KINDS, crafted, spoil

COMMON = ("head.tflite", "tail.tflite", "gate.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_guarded_bundle(tmp_path_factory.mktemp("guarded") / "bundle")


@pytest.fixture
def own(made: Bundle, tmp_path: Path) -> Path:
    """A copy, to spoil."""
    return Path(shutil.copytree(made.folder, tmp_path / "bundle"))


def raw_of(bundle: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle.folder / "manifest.json").read_text())
    return found


def test_the_manifest_says_so_and_leaves_the_common_halves_alone(made: Bundle) -> None:
    raw, before = raw_of(made), Bundle.load().manifest
    assert replace(made.manifest, framing="centre square").schema == "securesplit.bundle/3"
    assert set(raw["guarded"]) == {HEAD, TAIL, "gate"}
    assert manifest.parse(json.dumps(raw).encode()).to_json() == raw
    assert all((made.folder / name).read_bytes() == (DEFAULT_FOLDER / name).read_bytes() for name in COMMON)
    assert (made.manifest.head_sha256, made.manifest.tail_sha256) == (before.head_sha256, before.tail_sha256)
    assert made.manifest.default_preset == before.default_preset


def test_the_identity_covers_both_halves_and_not_the_gate(made: Bundle) -> None:
    for half in (HEAD, TAIL):
        raw = raw_of(made)
        raw["guarded"][half] = "0" * 64
        with pytest.raises(BundleError, match="identity"):
            manifest.parse(json.dumps(raw).encode())
    raw = raw_of(made)
    raw["guarded"]["gate"][GATE] = "0" * 64
    assert manifest.parse(json.dumps(raw).encode()).identity == made.identity
    del raw["guarded"]["gate"]
    without = manifest.parse(json.dumps(raw).encode())
    assert without.identity == made.identity
    assert without.gate_of("guarded") is None
    assert without.gate_of("none") == made.manifest.gate


def no_noise(raw: dict[str, Any]) -> None:
    raw["presets"]["guarded"]["release"].update(sigma_per_clip=0.0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw.update(schema="securesplit.bundle/2"), "its schema is securesplit.bundle/2"),
        (lambda raw: raw.pop("guarded"), "needs a section guarded"),
        (lambda raw: raw["presets"].pop("guarded"), "such a section the preset"),
        (no_noise, "has no noise"),
        (lambda raw: raw["guarded"].pop(TAIL), f"{TAIL} is missing"),
        (lambda raw: raw["guarded"].update({HEAD: 7}), "not a SHA-256"),
        (lambda raw: raw["guarded"]["gate"].pop(GATE), f"{GATE} is missing"),
        (lambda raw: raw["guarded"].update(gate=[]), "gate is not an object"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    made: Bundle, spoil: Callable[[Any], object], message: str
) -> None:
    raw = raw_of(made)
    spoil(raw)
    with pytest.raises(BundleError, match=message) as caught:
        manifest.parse(json.dumps(raw).encode())
    assert caught.value.hint


def opened(folder: Path) -> None:
    bundle = Bundle.load(folder)
    head = bundle.open_head(preset="guarded")
    bundle.open_tail()
    bundle.open_gate(head, "guarded")


@pytest.mark.parametrize("name", [HEAD, TAIL, GATE])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind(own: Path, name: str, kind: str) -> None:
    spoil(own / name, kind)
    with pytest.raises(BundleError) as caught:
        opened(own)
    assert name in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (HEAD, b"no network", "LiteRT cannot load"),
        (HEAD, (DEFAULT_FOLDER / "head.tflite").read_bytes(), "guarded of the head is missing"),
        (TAIL, (DEFAULT_FOLDER / "tail.tflite").read_bytes(), "no signature 'guarded'"),
        (GATE, b"{}", f"{GATE} of the bundle is damaged"),
        (GATE, (DEFAULT_FOLDER / "gate.json").read_bytes().replace(b'"gate_map"', b'"compact"'), "for another head"),
    ],
)
def test_files_that_are_none(own: Path, name: str, content: bytes, message: str) -> None:
    """Whoever crafts a bundle writes the hashes too."""
    crafted(own, name, content, "guarded", *(["gate"] if name == GATE else []))
    with pytest.raises(BundleError, match=message):
        opened(own)


def test_no_head_runs_for_other_presets(own: Path) -> None:
    photo = draw_lesion(1, 150)
    (own / HEAD).rename(own / "away")
    assert "guarded" not in Bundle.load(own).open_head(preset="none")(photo)
    with pytest.raises(BundleError, match=f"no {HEAD}"):
        Bundle.load(own).open_head()
    (own / "away").rename(own / HEAD)
    for name in ("head.tflite", "gate.json", "encrypted_encoder.tflite"):
        (own / name).unlink()
    assert set(Bundle.load(own).open_head(preset="guarded")(photo)) == {"guarded", MAP}
    released = Releaser(Bundle.load(own), bytes(32), privacy="guarded").release(photo)
    assert released.assessment.kind == "dermoscopy"


def test_all_presets_are_measured_together(made: Bundle) -> None:
    photo, alone = draw_lesion(1, 150), made.open_head(preset="guarded")
    found = made.open_head()(photo)
    assert set(found) == {*made.presets, MAP}
    np.testing.assert_array_equal(found["guarded"], alone(photo)["guarded"])
    np.testing.assert_array_equal(found["guarded"], found[COPIED])


def test_the_tail_answers_by_the_preset_s_own(made: Bundle) -> None:
    spec = made.preset("guarded").spec
    releases = np.random.default_rng(1).integers(-9, 10, (3, *spec.shape)).astype(spec.dtype)
    tail, expected = made.open_tail(), Bundle.load().open_tail()(COPIED, releases.astype("int8"))
    np.testing.assert_array_equal(tail("guarded", releases), expected)
    np.testing.assert_array_equal(made.open_measured_tail()("guarded", releases), expected)
    assert made.preset_of(spec.shape, spec.dtype) == "guarded"


def test_a_client_needs_no_tail_and_a_worker_no_head(own: Path) -> None:
    (own / TAIL).unlink()
    assert Bundle.load(own).open_head()
    with pytest.raises(BundleError, match=f"no {TAIL}"):
        Bundle.load(own).open_tail()


def test_what_it_claims(made: Bundle) -> None:
    """Its epsilon is proven and certifies nothing; that the picture is not rebuilt was measured."""
    spec = made.preset("guarded").spec
    assert unprotected(spec) is None
    assert claim_of(spec) == "measured"
    said = describe(spec, None)
    assert (said.claim, said.preset, said.delta) == ("measured", "guarded", DELTA)
    assert said.epsilon is not None
    assert said.epsilon > 100
    assert said.identification_bound_n1000 == 1.0


def test_a_photo_keeps_its_noise(made: Bundle) -> None:
    releaser, other = (Releaser(made, bytes([secret]) * 32, privacy="guarded") for secret in (1, 2))
    photo = draw_lesion(1, 300)
    first, again, clean = releaser.release(photo), releaser.release(photo), releaser.release(photo, with_noise=False)
    np.testing.assert_array_equal(first.release, again.release)
    assert (first.release != clean.release).mean() > 0.5
    assert (first.release != other.release(photo).release).mean() > 0.5
