"""Acquisition against an executable that speaks ``isic``'s arguments, and against the real client's own help."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.data import isic
from training.data.dataset import Dataset
from training.data.photo import DataError

ISIC = """#!{python}
import csv, sys
from pathlib import Path
from PIL import Image
from securesplit.imaging.synthetic import draw_lesion

assert sys.argv[1:-1] == {expected!r}, sys.argv
out = Path(sys.argv[-1])
(out / "licenses").mkdir(parents=True)
(out / "attribution.txt").write_text("someone")
rows = []
for n in range(60):
    drawn = 900 if n in (3, 4) else n  # two names for one picture
    Image.fromarray(draw_lesion(drawn, 64)).save(out / f"ISIC_{{n:07}}.jpg")
    rows.append({{
        "isic_id": f"ISIC_{{n:07}}", "copyright_license": "CC-0", "attribution": "someone", "age_approx": "45",
        "anatom_site_general": "back", "diagnosis_1": "Malignant" if n % 3 == 0 else "Benign",
        "diagnosis_3": "Melanoma Invasive" if n % 3 == 0 else "Nevus", "diagnosis_confirm_type": "histopathology",
        "lesion_id": f"IL_{{n // 2}}" if n >= 40 else "", "sex": "male",
        "patient_id": f"IP_{{n // 10}}" if n < 20 else "",
    }})
rows[30] |= {{"diagnosis_3": "Scar"}}
rows[31] |= {{"diagnosis_3": "", "diagnosis_1": ""}}
rows[33] |= {{"diagnosis_1": "Benign"}}
(out / "ISIC_0000035.jpg").unlink()
with (out / "metadata.csv").open("w", newline="") as stream:
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir()
    (folder / "isic").write_text(script)
    (folder / "isic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_photos_arrive_split_by_lesion_patient_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ["image", "download", "--search", "image_type:dermoscopic", "--collections", "70,65", "--limit", "60"]
    install(tmp_path / "bin", monkeypatch, ISIC.format(python=sys.executable, expected=expected))
    arguments = ["--search", "image_type:dermoscopic", "--collections", "70,65", "--limit", "60"]
    monkeypatch.setattr(sys, "argv", ["acquire", "--out", str(tmp_path / "isic"), *arguments])
    isic.main()
    assert capsys.readouterr().out.strip().endswith("dropped 4")
    data = Dataset.read(tmp_path / "isic", tmp_path / "pixels")
    data.check_disjoint()
    photos = data.photos
    side = {p.path.stem: split for split, members in photos.items() for p in members}
    assert len(side) == 56
    assert all(len({side[f"ISIC_{n:07}"] for n in patient}) == 1 for patient in (range(10), range(10, 20)))
    assert all(side[f"ISIC_{n:07}"] == side[f"ISIC_{n + 1:07}"] for n in (3, *range(40, 60, 2)))
    assert {split for split, members in photos.items() if any(p.malignant for p in members)} == {"train", "val", "test"}
    assert len(photos["train"]) > len(photos["val"]) > 0
    with (tmp_path / "isic" / "dropped.csv").open() as stream:
        reasons = {row["image_id"][-2:]: row["reason"] for row in csv.DictReader(stream)}
    assert reasons == {
        "30": "diagnosis is none of the seven",
        "31": "no diagnosis",
        "33": "stated as benign, diagnosed as mel",
        "35": "no photo",
    }


def test_a_client_that_is_absent_or_fails_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="pip install isic-cli"):
        isic.download(tmp_path / "images")
    install(tmp_path / "bin", monkeypatch, "#!/bin/sh\nexit 3\n")
    with pytest.raises(DataError, match="isic ended with 3"):
        isic.download(tmp_path / "images")


@pytest.mark.parametrize(
    ("record", "dx"),
    [
        ({"diagnosis_1": "Malignant", "diagnosis_3": "Melanoma in situ"}, "mel"),
        ({"diagnosis_1": "Indeterminate", "diagnosis_3": "Solar or actinic keratosis"}, "akiec"),
        ({"benign_malignant": "benign", "diagnosis": "seborrheic keratosis"}, "bkl"),
        ({"diagnosis_1": "Benign", "diagnosis_3": "Nevus", "diagnosis_4": "Nevus, Atypical, Dysplastic"}, "nv"),
        ({"diagnosis_1": "Benign", "diagnosis_3": "Hemangioma"}, "vasc"),
    ],
)
def test_diagnoses_of_the_archive(record: dict[str, str], dx: str) -> None:
    assert isic.diagnosis(record) == (dx, "")


@pytest.mark.skipif(shutil.which("isic") is None, reason="isic-cli is not installed")
def test_the_real_client_knows_our_arguments() -> None:
    done = subprocess.run(["isic", "image", "download", "--help"], capture_output=True, text=True, check=True)
    assert all(flag in done.stdout for flag in ("--search", "--collections", "--limit", "OUTDIR"))
