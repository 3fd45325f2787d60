"""The preset ``encrypted`` of a bundle: what a manifest says of it, its files, and what a device makes of a photo."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.device.promise import claim_of, unprotected
from securesplit.device.release_step import Releaser, preset_of_mechanism
from securesplit.encrypted.layout import Layout
from securesplit.encrypted.tail import QuadraticTail
from securesplit.errors import BundleError, ConfigError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, encrypted_preset, manifest
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.encrypted_preset import ENCODER, STEP, TAIL
from securesplit.privacy.mechanism import Mechanism
from securesplit.privacy.release import ReleaseSpec, from_grid
from tests.model.test_hostile_bundle import KINDS, crafted, identity_of, spoil

GOOD: dict[str, Any] = json.loads((DEFAULT_FOLDER / "manifest.json").read_text())
BEFORE = b"""{
  "schema": "securesplit.bundle/1",
  "name": "old",
  "identity": "sha256:IDENTITY",
  "halves": {
    "head.tflite": "1111111111111111111111111111111111111111111111111111111111111111",
    "tail.tflite": "2222222222222222222222222222222222222222222222222222222222222222"
  },
  "preprocessing": {
    "side": 150,
    "crop": "centre square",
    "colour": "RGB 0..255"
  },
  "backbone": "old",
  "cut": "cut",
  "default_preset": "none",
  "presets": {
    "none": {
      "release": {
        "shape": [
          4
        ],
        "dtype": "int16",
        "step": 0.5,
        "clip_norm": null,
        "sigma_per_clip": 0.0
      },
      "calibration": {
        "scale": 1.0,
        "offset": 0.0
      },
      "threshold": 0.5,
      "quality": {}
    }
  },
  "licence": "CC0",
  "provenance": {}
}
"""
"""As versions before this preset wrote it; the identity is computed by hand below."""


def test_a_bundle_without_the_preset_stays_what_it_was_byte_for_byte() -> None:
    contract = '{"none": {"clip_norm": null, "dtype": "int16", "shape": [4], "step": 0.5}}'
    hashed = f"securesplit.bundle/1\n{64 * '1'}\n{64 * '2'}\n{contract}"
    identity = hashlib.sha256(hashed.encode()).hexdigest()
    before = BEFORE.replace(b"IDENTITY", identity.encode())
    assert manifest.parse(before).to_text().encode() == before


def test_the_schema_keeps_earlier_versions_from_sending_the_integers() -> None:
    raw = replace(Bundle.load().manifest, framing="centre square").to_json()
    assert raw["schema"] == "securesplit.bundle/2"
    assert raw["presets"]["encrypted"]["release"]["encryption"] == "ckks"
    assert set(raw["encrypted"]) == {ENCODER, TAIL}


@pytest.mark.parametrize("file", [ENCODER, TAIL])
def test_the_identity_covers_both_files(file: str) -> None:
    raw = json.loads(json.dumps(GOOD))
    raw["encrypted"][file] = "0" * 64
    assert identity_of(raw) != identity_of(GOOD)
    with pytest.raises(BundleError, match="identity"):
        manifest.parse(json.dumps(raw).encode())


@pytest.mark.parametrize(
    ("schema", "hint"),
    [("securesplit.bundle/5", "upgrade securesplit before the bundle"), ("x", "fetch or build the bundle again")],
)
def test_a_bundle_of_a_later_form_wants_a_later_program(schema: str, hint: str) -> None:
    with pytest.raises(BundleError, match="this version reads") as caught:
        manifest.parse(json.dumps({**GOOD, "schema": schema}).encode())
    assert caught.value.hint == hint


def drop_section(raw: dict[str, Any]) -> None:
    del raw["encrypted"]


def drop_preset(raw: dict[str, Any]) -> None:
    del raw["presets"]["encrypted"]
    phone = raw["gate"]["kinds"]["phone"]
    del phone["answers"]["encrypted"]
    phone["never_low"].remove("encrypted")


def drop_cut(raw: dict[str, Any]) -> None:
    del raw["presets"]["none"], raw["gate"], raw["attack_decoder"]


def in_the_open(raw: dict[str, Any]) -> None:
    del raw["presets"]["encrypted"]["release"]["encryption"]


def of_release(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda raw: raw["presets"]["encrypted"]["release"].update(fields)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw.update(schema="securesplit.bundle/1"), "its schema is securesplit.bundle/1"),
        (lambda raw: raw.update(schema="securesplit.bundle/5"), "this version reads"),
        (drop_section, "needs a section"),
        (drop_preset, "such a section the preset"),
        (drop_cut, "needs the preset none"),
        (in_the_open, "one preset is encrypted, and called encrypted"),
        (lambda raw: raw["presets"]["compact"]["release"].update(encryption="ckks"), "one preset is encrypted"),
        (of_release(encryption="rot13"), "encryption is not ckks"),
        (of_release(shape=[255]), "256 int16"),
        (of_release(dtype="int8"), "256 int16"),
        (of_release(step=0.01), "256 int16"),
        (of_release(clip_norm=1.0), "neither clipped"),
        (of_release(sigma_per_clip=0.5), "noise without a clip norm"),
        (lambda raw: raw["encrypted"].pop(TAIL), f"{TAIL} is missing"),
        (lambda raw: raw["encrypted"].update({ENCODER: 7}), "not a SHA-256"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(spoil: Callable[[Any], object], message: str) -> None:
    raw = json.loads(json.dumps(GOOD))
    spoil(raw)
    with pytest.raises(BundleError, match=message) as caught:
        manifest.parse(json.dumps(raw).encode())
    assert caught.value.hint


def opened(folder: Path) -> tuple[object, object]:
    bundle = Bundle.load(folder)
    return bundle.open_head(), bundle.open_encrypted_tail()


@pytest.mark.parametrize("name", [ENCODER, TAIL])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind(folder: Path, name: str, kind: str) -> None:
    spoil(folder / name, kind)
    with pytest.raises(BundleError) as caught:
        opened(folder)
    assert name in caught.value.message
    assert caught.value.hint


def test_each_side_needs_its_own_file_alone(folder: Path) -> None:
    (folder / TAIL).unlink()
    assert Bundle.load(folder).open_head()
    with pytest.raises(BundleError, match=f"no {TAIL}"):
        Bundle.load(folder).open_encrypted_tail()
    (folder / ENCODER).unlink()
    assert Bundle.load(folder).open_tail()
    with pytest.raises(BundleError, match=f"no {ENCODER}"):
        Bundle.load(folder).open_head()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no network", "LiteRT cannot load"),
        ((DEFAULT_FOLDER / "tail.tflite").read_bytes(), "no signature 'encoder'"),
    ],
)
def test_an_encoder_that_is_none(folder: Path, content: bytes, message: str) -> None:
    crafted(folder, ENCODER, content, "encrypted")
    with pytest.raises(BundleError, match=message):
        Bundle.load(folder).open_head()


def arrays() -> dict[str, Any]:
    with np.load(DEFAULT_FOLDER / TAIL) as stored:
        return dict(stored)


def packed(save: Callable[..., None] = np.savez, **changes: Any) -> bytes:
    """The tail's file with other arrays; None leaves one out."""
    stream = io.BytesIO()
    save(stream, **{name: value for name, value in (arrays() | changes).items() if value is not None})
    return stream.getvalue()


def a_weight_out_of_reach() -> Any:
    first = arrays()["first"].copy()
    first[~Layout().first_alone(first)[1]] = 1.0
    return first


def with_header(shape: str) -> bytes:
    """A tail's file whose first array says that it is as large as `shape`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, zipfile.ZipFile(DEFAULT_FOLDER / TAIL) as good:
        for name in good.namelist():
            found = good.read(name)
            archive.writestr(name, found.replace(b"(64, 256)", shape.encode()) if name == "first.npy" else found)
    return content.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"PK\x03\x04", "damaged"),
        (lambda: (DEFAULT_FOLDER / TAIL).read_bytes()[:-40], "damaged"),
        (lambda: packed(np.savez_compressed), "compressed"),
        (lambda: packed(second=None), "its arrays are not"),
        (lambda: packed(more=np.zeros(1)), "its arrays are not"),
        (lambda: packed(last=np.array(["a"] * 64)), "last is not float32"),
        (lambda: packed(last=np.zeros(64)), "last is not float32"),
        (lambda: packed(last=np.zeros(63, np.float32)), "last is not float32"),
        (lambda: packed(last=np.full(64, np.nan, np.float32)), "not finite"),
        (lambda: packed(last=np.full(64, 1e6, np.float32)), "too large"),
        (lambda: packed(first=a_weight_out_of_reach()), "no ciphertext reaches"),
        (lambda: with_header("(9, 9e9)"), "damaged"),
        (lambda: with_header("(999999, 99999999)"), "damaged"),
    ],
)
def test_a_tail_that_is_none(make: Callable[[], bytes], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is unpickled, and no memory is taken for what a header only claims."""
    content = make()
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("an array was read unchecked"))
    with pytest.raises(BundleError, match=message) as caught:
        encrypted_preset.parse_tail(content)
    assert caught.value.hint


def test_nothing_is_unpickled() -> None:
    with pytest.raises(BundleError, match="last is not float32"):
        encrypted_preset.parse_tail(packed(last=np.array([{}] * 64, object)))


def test_the_same_weights_give_the_same_bytes() -> None:
    tail = Bundle.load().open_encrypted_tail()
    assert isinstance(tail, QuadraticTail)
    assert encrypted_preset.tail_to_bytes(tail) == (DEFAULT_FOLDER / TAIL).read_bytes()


def test_a_device_releases_the_encoded_map_on_the_grid() -> None:
    """The 256 integers that are encrypted; the answer to them in the open is near that of the undefended network."""
    bundle = Bundle.load()
    releaser, encoder = Releaser(bundle, bytes(32), privacy="encrypted"), bundle.open_encoder()
    answer, spec = bundle.open_measured_tail(), releaser.preset.spec
    assert encoder is not None
    for seed in (1, 2):
        photo = draw_lesion(seed, bundle.manifest.side)
        found = releaser.release(photo)
        features = encoder(bundle.open_head()(photo)["none"])
        assert (found.release.shape, found.release.dtype) == ((256,), np.int16)
        assert np.abs(from_grid(found.release, spec) - features).max() <= 1.01 * STEP
        logit = answer("encrypted", found.release[None])[0]
        assert logit == pytest.approx(bundle.open_encrypted_tail().plain(features[None])[0], abs=1e-2)  # type: ignore[union-attr]


def test_a_worker_answers_no_integers_in_the_open() -> None:
    with pytest.raises(KeyError):
        Bundle.load().open_tail()("encrypted", np.zeros((1, 256), np.int16))


def test_what_it_claims() -> None:
    spec = Bundle.load().preset("encrypted").spec
    assert spec.encrypted
    assert unprotected(spec) is None
    assert claim_of(spec) == "cryptographic"
    assert spec.loss.epsilon() == 0


def test_an_own_mechanism_does_not_change_what_is_encrypted() -> None:
    own = Mechanism(lambda grid, *_: grid, "encrypted", "mine", "mine 1.0")
    with pytest.raises(ConfigError, match="uses preset 'encrypted', which leaves a mechanism nothing to hide"):
        preset_of_mechanism(Bundle.load(), own)
    with pytest.raises(BundleError, match="nor changed by a mechanism"):
        ReleaseSpec("mine", (256,), "int16", step=STEP, mechanism=own, encrypted=True)
