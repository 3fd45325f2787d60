import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.drawn_photos import draw_tree
from training.data import summary


def test_counts_contact_sheet_and_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_tree(tmp_path / "data")
    shutil.copy(tmp_path / "data/train/benign/m1.png", tmp_path / "data/test/benign/again.png")
    monkeypatch.setattr(sys, "argv", ["summary", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")])
    summary.main()
    printed = capsys.readouterr().out
    assert "near-duplicate: train/m1.png and test/again.png, correlation 1.0" in printed
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["counts"]["test"] == {
        "photos": 5, "lesions": 5, "benign": 3, "malignant": 2, "histology": 0, "diagnoses": {"unknown": 5},
    }  # fmt: skip
    assert len(found["near_duplicates_across_splits"]) == 1
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png"))
    assert sheet.shape == (6 * 110, 960, 3)
    assert sheet[13 : 13 + 96, :96].std() > 5
