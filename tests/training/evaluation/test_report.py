"""The model card of the shipped bundle, on synthetic lesions: no TensorFlow."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from PIL import Image

from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from tests.training.drawn_photos import draw_isic
from training.data.dataset import Dataset
from training.evaluation import predictions, report
from training.evaluation.predictions import Predictions, predict


def test_the_card_is_written_and_the_second_run_reads_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_isic(tmp_path / "data")
    arguments = ["report", "--data", tmp_path / "data", "--out", tmp_path / "card", "--cache", tmp_path / "r" / "c"]
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), "--draws", "5"])
    report.main()
    card = (tmp_path / "card" / "MODEL_CARD.md").read_text()
    assert capsys.readouterr().out == card + "\n"
    assert str(tmp_path) not in card
    for words in ("not a diagnosis", "colour only, no network", "## Licence", "NC", "sex: female", "`certified`"):
        assert words in card
    assert {line.count("|") for line in card.splitlines() if line.startswith("| `compact`")} == {8, 6, 5}
    assert {line.count("|") for line in card.splitlines() if line.startswith("| colour only")} == {8, 6}
    figures = json.loads((tmp_path / "card" / "figures.json").read_text())
    assert figures["bundle"] == Bundle.load().id
    assert figures["presets"]["compact"]["test"]["auc"]["low"] <= figures["presets"]["compact"]["test"]["auc"]["high"]
    for plot in ("roc.png", "reliability.png"):
        assert np.asarray(Image.open(tmp_path / "card" / plot)).std() > 10

    def again() -> Predictions:
        data = Dataset.read(tmp_path / "data", tmp_path / "r" / "pixels")
        return predict(Bundle.load(), data, tmp_path / "r" / "c")

    computed: list[str] = []
    monkeypatch.setattr(predictions, "_logits", lambda *told: computed.append(told[-1]) or {"compact": np.zeros(7)})
    monkeypatch.setattr(predictions.baseline, "colour_baselines", lambda *_: computed.append("colours") or [[], []])
    assert again().logits["test"]["compact"].any()
    assert computed == []
    Image.fromarray(draw_lesion(99, 61)).save(next((tmp_path / "data" / "images").glob("*.jpg")))
    assert not again().logits["test"]["compact"].any()
    assert computed == ["val", "test", "colours"]
