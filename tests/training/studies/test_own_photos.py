"""The study of what a source's own photos bring to it: each photo is answered by a network that did not learn it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

from sklearn.metrics import roc_auc_score

from securesplit.errors import ConfigError
from tests.training import tiny
from tests.training.drawn_photos import ARCHIVE, HAM, write_source
from training.data.dataset import Dataset, Split
from training.network.config import Config, named
from training.network.run_record import config_of, read
from training.network.train import train
from training.studies import own_photos, paired

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

SETTINGS = ("backbone=tiny", "side=48", "freeze=stem", "batch=2", "epochs=1", "learning_rate=1e-3", "monitor=last")
"""A training without a teacher."""
FOLDS = 2


def config(*more: str) -> Config:
    assert tiny.build
    return named("collection", [*SETTINGS, *more])


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Eight lesions of `komour` with two photos each, and one photo of `isic9`: one of its folds has none."""
    root = tmp_path / "data"
    ham = [(split, dx) for split in ("train", "val") for dx in ("nv", "mel")]
    write_source(root, "ham10000", HAM, [f"H{s}{dx},{s},x,{dx},L{s}{dx},G{s}{dx},histo,50,f,back" for s, dx in ham])
    classes = (("benign", "nevus"), ("malignant", "melanoma"))
    archive = [
        f"A{i},{label},{dx},komour,,,,L{i // 4}{label},r,c,p" for i in range(16) for label, dx in [classes[i % 2]]
    ]
    write_source(root, "isic_archive", ARCHIVE, [*archive, "B1,malignant,melanoma,isic9,,,,,r,c,p"])
    return Dataset.read(root, tmp_path / "pixels")


@pytest.fixture
def without(data: Dataset, tmp_path: Path) -> Path:
    run = tmp_path / "without"
    train(config("hold_out=komour,isic9"), data, run, verbose=0)
    return run


def test_every_photo_is_answered_by_a_network_that_learned_the_others(
    data: Dataset, without: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "DRAWS", 5)
    learned: dict[str, set[str]] = {}
    asked: dict[str, list[Any]] = {}

    def watched(own: Config, parted: Dataset, run: Path, **given: Any) -> Any:
        kept = parted.holding_out(own.held_out).photos["train"]
        learned[run.name] = {photo.path.name for photo in kept}
        return train(own, parted, run, verbose=0, **given)

    scorer_of_run = own_photos.scorer_of_run

    def scorer(run: Path, own: Config) -> Any:
        def score(split: Split) -> Any:
            logits = scorer_of_run(run, own)(split)
            asked.setdefault(run.name, []).extend(zip(split.photos, logits, strict=True))
            return logits

        return score

    monkeypatch.setattr(own_photos, "train", watched)
    monkeypatch.setattr(own_photos, "scorer_of_run", scorer)
    out = tmp_path / "out"
    content = own_photos.study(config(), data, out, folds=FOLDS, without=[without])
    folds = [asked[f"fold-{k}"] for k in range(FOLDS)]
    of_others = {p.path.name for p in data.photos["train"] if p.source != "ham10000"}
    answered = [photo.path.name for of_fold in folds for photo, _ in of_fold]
    assert sorted(answered) == sorted(of_others), "each photo once"
    for k, of_fold in enumerate(folds):
        held = {photo.path.name for photo, _ in of_fold}
        assert len(held) > 1
        assert learned[f"fold-{k}"] == {p.path.name for p in data.photos["train"]} - held
    lesions = [{photo.lesion for photo, _ in of_fold} for of_fold in folds]
    assert not lesions[0] & lesions[1]

    def auc(answers: list[Any]) -> float:
        own = [(photo.malignant, logit) for photo, logit in answers if photo.source == "komour"]
        return float(roc_auc_score(*zip(*own, strict=True)))

    known = {photo.path: logit for photo, logit in asked["without"]}
    own, base = ([auc(f) for f in folds], [auc([(p, known[p.path]) for p, _ in f]) for f in folds])
    found = content["sources"]["komour"]
    assert (found["photos"], found["malignant"]) == (16, 8)
    assert found["auc"].value == pytest.approx(np.mean(own))
    assert found["gain"].value == pytest.approx(np.mean(own) - np.mean(base), abs=1e-6)
    assert {source for k in range(FOLDS) for source in config_of(out / f"fold-{k}").held_out} <= {
        *("komour/0", "komour/1", "isic9/0", "isic9/1")
    }
    written = json.loads((out / "own_photos.json").read_text())["sources"]
    assert written["komour"]["auc"]["value"] == found["auc"].value
    assert written["isic9"]["auc"]["value"] is None, "of one class"
    assert "| komour | 16 | 8 |" in (out / "own_photos.md").read_text()


def test_a_study_that_was_killed_goes_on(
    data: Dataset, without: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "DRAWS", 5)
    given: dict[str, Any] = {"folds": FOLDS, "without": [without]}
    first = own_photos.study(config(), data, tmp_path / "out", **given)
    assert (
        own_photos.study(config(), data, tmp_path / "out", **given)["sources"]["komour"] == first["sources"]["komour"]
    )
    assert [len(read(tmp_path / "out" / f"fold-{k}")["sessions"]) for k in range(FOLDS)] == [1] * FOLDS


def test_a_run_that_held_no_whole_source_out_says_nothing_here(data: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "all"
    train(config(), data, run, verbose=0)
    with pytest.raises(ConfigError, match="no run of --without held a whole source out"):
        own_photos.study(config(), data, tmp_path / "out", folds=FOLDS, without=[run])
