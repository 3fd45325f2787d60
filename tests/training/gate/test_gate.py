"""A gate is fitted on examples, calibrated on others, and written into its bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from securesplit.model import Bundle, gate
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.manifest import KindOfPhoto
from training.data.collection import fold_of
from training.data.photo import Photo
from training.gate import fit as fitting
from training.gate import samples, textures

SIDE, CHANNELS = 120, 16


def examples() -> samples.Examples:
    """Maps that differ by what they are: a shift of channels for each kind and each harm."""
    rng = np.random.default_rng(0)
    maps, what, group, side = [], [], [], []
    for name, of in (
        ("ok", "ham10000"),
        ("ok", "phone"),
        ("blur", "ham10000"),
        ("blur", "phone"),
        ("texture", "drawn"),
    ):
        for number in range(SIDE):
            shift = np.zeros(CHANNELS)
            shift[0] = 4 * (of == "phone")
            shift[1] = 6 * (name == "blur")
            shift[2:8] = rng.normal(0, 12, 6) if name == "texture" else 0
            maps.append(rng.normal(shift, 1, (5, 5, CHANNELS)))
            what.append(name)
            group.append(of)
            side.append("val" if name == "ok" and number % 2 else "train")
    measures = rng.normal(size=(len(maps), gate.MEASURES)).astype(np.float32)
    return samples.Examples(np.array(maps, np.float16), measures, np.array(what), np.array(group), np.array(side))


@pytest.fixture(scope="module")
def fitted() -> tuple[gate.Gate, samples.Examples]:
    found = examples()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "COMPONENTS", 4)
        return fitting.fit(found), found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_whole_photos_pass_and_others_are_refused_by_reason(
    fitted: tuple[gate.Gate, samples.Examples],
) -> None:
    judge, found = fitted
    verdicts = [judge.judge(m.astype(np.float32), q) for m, q in zip(found.maps, found.measures, strict=True)]
    reasons = np.array([str(v.reason) for v in verdicts])
    assert (reasons[found.what == "ok"] == "None").mean() > 0.9
    assert (reasons[found.what != "ok"] != "None").mean() > 0.95
    assert (reasons[found.what == "blur"] == "blur").mean() > 0.6
    assert (reasons[found.what == "texture"] == "not-skin").mean() > 0.9
    kinds = np.array([v.kind for v in verdicts])
    whole = found.what == "ok"
    assert (kinds[whole] == [fitting.kind_of(g) for g in found.group[whole]]).mean() > 0.85


def test_writing_it_leaves_the_rest_of_the_bundle_unchanged(
    fitted: tuple[gate.Gate, samples.Examples], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle"))
    before = Bundle.load(folder)
    learned = {"dermoscopy": KindOfPhoto(learned=True), "phone": KindOfPhoto(learned=True)}
    fitting.write(before, fitted[0], learned, {"command": "a test"})
    after = Bundle.load(folder)
    assert after.id == before.id
    assert after.manifest.gate is not None
    assert after.manifest.gate.kinds == learned
    assert after.manifest.provenance["gate"] == {"command": "a test"}
    written = json.loads((folder / gate.FILE).read_text())
    assert gate.to_json(gate.parse((folder / gate.FILE).read_bytes())) == written


def test_no_lesion_is_on_two_sides() -> None:
    def photo(source: str, lesion: str, kind: str = "dermoscopy") -> Photo:
        return Photo(Path(f"{source}-{lesion}.jpg"), malignant=False, lesion=lesion, source=source, kind=kind)

    patients = [photo(f"phone/{fold_of(f'P{n}')}", f"P{n}", "phone") for n in range(50)]
    archive = [photo("komour", f"I{n}") for n in range(50)]
    sides = samples.split_by_group(
        {
            "train": [photo("ham10000", "L1"), *patients, *archive],
            "val": [photo("ham10000", "L2")],
            "test": [photo("ham10000", "L3"), photo("smartphone", "P99", "phone")],
        }
    )
    lesions = {side: {p.lesion for photos in groups.values() for p in photos} for side, groups in sides.items()}
    assert not lesions["train"] & lesions["val"]
    assert not (lesions["train"] | lesions["val"]) & lesions["test"]
    assert sum(map(len, lesions.values())) == 104
    assert {"L3", "P99"} <= lesions["test"]
    assert all(set(groups) == {"ham10000", "isic", "phone"} for groups in sides.values())


def test_textures_of_every_family_are_the_same_for_the_same_seed() -> None:
    for seed in range(textures.FAMILIES):
        drawn = textures.draw_texture(seed, 40)
        assert (drawn.shape, drawn.dtype) == ((40, 40, 3), np.uint8)
        assert (drawn == textures.draw_texture(seed, 40)).all()
