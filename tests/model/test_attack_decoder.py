"""The attack decoder of a bundle: read like the rest of it, quick, and a fair picture of what a release gives away."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.device.release_step import Releaser
from securesplit.errors import BundleError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, attack_decoder
from securesplit.model.bundle import DEFAULT_FOLDER
from tests.manifests import changed_manifest

MOST_MS = 10.0
MOST_BYTES_A_PRESET = 300_000


def put(folder: Path, content: bytes) -> None:
    """A decoder whose hash the manifest has."""
    (folder / attack_decoder.FILE).write_bytes(content)
    change(folder, **{attack_decoder.FILE: hashlib.sha256(content).hexdigest()})


def change(folder: Path, **fields: Any) -> None:
    """The manifest with other fields of its decoder."""
    with changed_manifest(folder) as raw:
        raw[attack_decoder.KEY] |= fields


def rebuilt(preset: str, seed: int, *, malignant: bool = False) -> tuple[attack_decoder.Rebuilt, np.ndarray]:
    """What is made of a synthetic lesion, and the lesion."""
    bundle, photo = Bundle.load(), draw_lesion(seed, 300)
    releaser, decoder = Releaser(bundle, bytes(32), privacy=preset), bundle.open_attack_decoder()
    assert decoder is not None
    found = decoder.rebuild(releaser.preset.spec, releaser.release(photo).release, malignant=malignant)
    assert found is not None
    return found, photo


def test_the_default_bundle_has_a_quick_one_for_every_preset() -> None:
    bundle = Bundle.load()
    info = bundle.manifest.attack_decoder
    assert info is not None
    assert set(info.presets) == set(bundle.manifest.in_the_open)
    assert (DEFAULT_FOLDER / attack_decoder.FILE).stat().st_size <= MOST_BYTES_A_PRESET * len(info.presets)
    decoder, times = bundle.open_attack_decoder(), []
    assert decoder is not None
    for spec in [*bundle.manifest.in_the_open.values()] * 5:
        started = time.thread_time()
        found = decoder.rebuild(spec, np.zeros(spec.shape, spec.dtype), malignant=True)
        times.append(1e3 * (time.thread_time() - started))
        assert found is not None
        for picture in (found.picture, found.class_mean):
            assert (picture.shape, picture.dtype) == ((info.side, info.side, 3), np.uint8)
    assert min(times) <= MOST_MS


def test_maps_give_the_photo_away_and_private_does_not() -> None:
    """By the manifest: what the audit found, so that nobody is shown a weak attack."""
    info = Bundle.load().manifest.attack_decoder
    assert info is not None
    assert info.presets["none"].skill > 0.6
    assert info.presets["compact"].skill > 0.4
    assert info.presets["certified"].skill <= 0.05
    assert all(figures.photos >= 200 for figures in info.presets.values())


@pytest.mark.parametrize("preset", ["none", "compact", "certified"])
def test_the_picture_shows_this_photo_only_if_the_release_does(preset: str) -> None:
    """A photo that is turned gives another picture, at the same place, from a map, and nearly the same from a level."""
    found, photo = rebuilt(preset, 3)
    small = np.asarray(_shrunk(photo, found.picture.shape[0]), np.float32)
    away = np.abs(found.picture.astype(np.float32) - found.class_mean).mean()
    gained = np.square(small - found.class_mean).mean() - np.square(small - found.picture).mean()
    if preset == "certified":
        assert away < 10
    else:
        assert away > 5
        assert gained > 0


def _shrunk(photo: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.BICUBIC))


def test_the_class_mean_is_of_the_answer() -> None:
    benign, malignant = (rebuilt("certified", 3, malignant=answer)[0].class_mean for answer in (False, True))
    assert np.abs(benign.astype(int) - malignant).max() > 3


def test_figures_hold_for_the_preset_s_own_noise_only() -> None:
    bundle = Bundle.load()
    decoder, spec = bundle.open_attack_decoder(), bundle.preset("certified").spec
    assert decoder is not None
    release = np.zeros(spec.shape, spec.dtype)
    own, other = (decoder.rebuild(s, release, malignant=False) for s in (spec, spec.with_epsilon(8.0)))
    assert own is not None
    assert own.figures is not None
    assert other is not None
    assert other.figures is None
    assert decoder.rebuild(replace(spec, preset="another"), release, malignant=False) is None


def test_a_bundle_without_one_stays_what_it_is(folder: Path) -> None:
    with changed_manifest(folder) as raw:
        del raw[attack_decoder.KEY]
    (folder / attack_decoder.FILE).unlink()
    bundle = Bundle.load(folder)
    assert bundle.open_attack_decoder() is None
    assert bundle.id == Bundle.load().id, "the decoder is no part of what both sides share"


def test_what_is_written_is_read_back() -> None:
    raw = json.loads((DEFAULT_FOLDER / "manifest.json").read_text())
    presets = Bundle.load().presets
    found = attack_decoder.parse_info(raw[attack_decoder.KEY], presets)
    assert found.to_json(lambda name: presets[name].spec.stored_name) == raw[attack_decoder.KEY]
    assert Bundle.load().manifest.to_json()[attack_decoder.KEY] == raw[attack_decoder.KEY]


def test_an_altered_missing_or_foreign_file_is_an_error(folder: Path) -> None:
    file = folder / attack_decoder.FILE
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    refused(folder, r"attack\.tflite was altered")
    file.unlink()
    refused(folder, r"has no attack\.tflite")
    put(folder, content[: len(content) // 2])
    refused(folder, "LiteRT cannot load")
    put(folder, (folder / "tail.tflite").read_bytes())
    refused(folder, "larger than")
    put(folder, content)
    change(folder, side=32)
    refused(folder, "picture of the attack decoder is float32")


def refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.load(folder).open_attack_decoder()
    assert caught.value.hint


FIGURES = {
    "attack": "A1",
    "skill": 0.5,
    "skill_low": 0.4,
    "skill_high": 0.6,
    "ssim_gain": 0.1,
    "photos": 9,
    "learned_from": 9,
}
MANIFESTS: dict[str, Any] = {
    "is not an object": 3,
    "no hash": {"side": 64, "presets": {}},
    "no side": {attack_decoder.FILE: "0" * 64, "presets": {}},
    "a huge side": {attack_decoder.FILE: "0" * 64, "side": 1 << 20, "presets": {}},
    "an unknown preset": {attack_decoder.FILE: "0" * 64, "side": 64, "presets": {"other": FIGURES}},
    "a skill beyond 1": {attack_decoder.FILE: "0" * 64, "side": 64, "presets": {"none": FIGURES | {"skill": 2}}},
    "a skill outside its interval": {
        attack_decoder.FILE: "0" * 64,
        "side": 64,
        "presets": {"none": FIGURES | {"skill": 0.3}},
    },
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_of_a_decoder_is_an_error(name: str, folder: Path) -> None:
    with changed_manifest(folder) as raw:
        raw[attack_decoder.KEY] = MANIFESTS[name]
    with pytest.raises(BundleError, match="manifest is damaged"):
        Bundle.load(folder)
