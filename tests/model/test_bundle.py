import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securesplit.errors import BundleError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, Calibration, manifest
from securesplit.model.bundle import DEFAULT_FOLDER, FILES
from securesplit.model.guarded_preset import GATE, HEAD, TAIL
from securesplit.privacy.release import saturate, to_grid
from tests.manifests import changed_manifest

MAX_BUNDLE_BYTES = 20_000_000


def test_the_default_bundle_is_whole_and_small() -> None:
    absent = {HEAD, TAIL, GATE} if Bundle.load().manifest.guarded is None else set()
    assert {p.name for p in DEFAULT_FOLDER.iterdir()} == set(FILES) - absent
    assert sum(p.stat().st_size for p in DEFAULT_FOLDER.iterdir()) < MAX_BUNDLE_BYTES


def test_the_manifest_says_what_was_measured() -> None:
    manifest = Bundle.load().manifest
    assert {"none", "compact", "certified"} <= set(manifest.presets)
    for preset in manifest.presets.values():
        assert 0.5 < preset.quality["test"]["auc"] < 1
        assert 0 < preset.threshold < 1
    assert "NC" in manifest.licence
    assert manifest.presets["certified"].spec.sigma_per_clip > 0
    assert manifest.default_preset != "none"


def test_a_network_that_sees_a_square_around_the_lesion_is_another_contract() -> None:
    """Which an earlier version refuses by its schema, as it would show the network another square."""
    around = Bundle.load().manifest
    centred = replace(around, framing="centre square")
    assert around.schema == manifest.LESION_SCHEMA != centred.schema
    assert around.identity != centred.identity
    assert json.loads(around.to_text())["preprocessing"] == {"side": 150, "crop": "lesion", "colour": "RGB 0..255"}
    assert manifest.parse(around.to_text().encode()) == around
    raw = json.loads(centred.to_text())
    raw["preprocessing"]["crop"] = "corner"
    with pytest.raises(BundleError, match="crop is not one of centre square, lesion"):
        manifest.parse(json.dumps(raw).encode())
    raw["preprocessing"]["crop"] = "lesion"
    with pytest.raises(BundleError, match="schema"):
        manifest.parse(json.dumps(raw).encode())


@pytest.mark.parametrize("preset", ["none", "compact", "certified"])
def test_head_and_tail_fit_each_other(preset: str) -> None:
    bundle = Bundle.load()
    head, tail = bundle.open_head(), bundle.open_tail()
    spec = bundle.preset(preset).spec
    embeddings = [head(draw_lesion(seed, bundle.manifest.side))[preset] for seed in range(1, 7)]
    assert all(e.shape == spec.shape and e.dtype == np.float32 for e in embeddings)
    releases = np.stack([saturate(to_grid(e, spec), spec) for e in embeddings])
    logits = tail(preset, releases)
    assert logits.shape == (6,)
    assert np.isfinite(logits).all()
    assert len(set(logits)) == len({r.tobytes() for r in releases}) > 1  # `certified` has six values in all
    assert tail(preset, releases[:1])[0] == logits[0]


def test_levels_are_optional_and_outside_the_identity(folder: Path) -> None:
    """What a device never sends within the contract is its own business, as its noise is."""
    file = folder / "manifest.json"
    raw = json.loads(file.read_text())
    assert raw["presets"]["private"]["release"].pop("levels") == [-3, 2]
    file.write_text(json.dumps(raw))
    old, new = Bundle.load(folder), Bundle.load()
    assert old.id == new.id
    assert old.preset("certified").spec.levels is None
    assert new.preset("certified").spec.loss.epsilon() < 0.8 * old.preset("certified").spec.loss.epsilon()


def test_every_release_has_a_shape_of_its_own() -> None:
    bundle = Bundle.load()
    for name, preset in bundle.presets.items():
        assert bundle.preset_of(preset.spec.shape, preset.spec.dtype) == name
    with pytest.raises(BundleError, match="no preset releases"):
        bundle.preset_of((1, 2, 3), "int8")


def test_a_client_needs_no_tail(folder: Path) -> None:
    (folder / "tail.tflite").unlink()
    bundle = Bundle.load(folder)
    assert bundle.open_head()
    with pytest.raises(BundleError, match=r"no tail\.tflite"):
        bundle.open_tail()


def test_a_file_is_told_from_a_bundle(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"head\.tflite is a file, not a bundle") as caught:
        Bundle.load(folder / "head.tflite")
    assert "securesplit split" in caught.value.hint


def flip_head(folder: Path) -> None:
    content = bytearray((folder / "head.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "head.tflite").write_bytes(content)


def rewrite(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    """Change the manifest's JSON."""

    def spoil(folder: Path) -> None:
        with changed_manifest(folder) as raw:
            change(raw)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (flip_head, "head.tflite was altered"),
        (lambda f: (f / "manifest.json").unlink(), "no bundle in"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest is damaged"),
        (rewrite(lambda raw: raw.update(schema="securesplit.bundle/9")), "schema is 'securesplit.bundle/9'"),
        (rewrite(lambda raw: raw.pop("presets")), "manifest is damaged"),
        (rewrite(lambda raw: raw["presets"]["private"]["release"].update(step=0.3)), "was altered"),
        (rewrite(lambda raw: raw.update(default_preset="best")), "not among its presets"),
        (rewrite(lambda raw: raw["presets"]["private"]["release"].update(dtype="float64")), "float64"),
    ],
)
def test_a_spoiled_bundle_is_refused(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.load(folder).open_head()
    assert caught.value.exit_code == 9


def test_the_manifest_reads_back_what_it_wrote() -> None:
    manifest = Bundle.load().manifest
    assert manifest.to_json() == json.loads((DEFAULT_FOLDER / "manifest.json").read_text())


@pytest.mark.parametrize("logit", [-800.0, -1.0, 0.0, 3.0, 800.0])
def test_calibration_never_overflows(logit: float) -> None:
    p = Calibration(1.5, -0.2).probability(logit)
    assert 0.0 <= p <= 1.0
    assert p + Calibration(-1.5, 0.2).probability(logit) == pytest.approx(1)
