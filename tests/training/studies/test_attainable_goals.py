"""Which goals are reachable: the ideal release tells nothing but the diagnosis, and luck shows as luck."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the train extra is not installed")

from tests.training.drawn_photos import listed
from training.data.photo import Photo
from training.release.cache import Cached
from training.release.presets.certified import WEIGHTS, CertifiedRecipe
from training.studies import attainable_goals
from training.studies.attainable_goals import ScoredPhotos, compare

LESIONS = 700


def drawn(seed: int) -> ScoredPhotos:
    """Two photos a lesion; the score tells the diagnosis, and within it the age, the lesion and the picture's light."""
    rng = np.random.default_rng(seed)
    malignant = np.repeat(rng.random(LESIONS) < 0.3, 2)
    own = np.repeat(rng.normal(size=LESIONS), 2)  # what is the lesion's own
    score = 2.0 * malignant + own
    age = np.where(own > 0, 70, 30)
    listed = [
        Photo(Path(f"{i}.jpg"), bool(m), f"lesion {i // 2}", age=str(a), sex=("male", "female")[i % 2], site="back")
        for i, (m, a) in enumerate(zip(malignant, age, strict=True))
    ]
    light = np.repeat(own[:, None, None, None], 3, axis=3).astype(np.float32)
    return ScoredPhotos(listed, malignant, light, score.astype(np.float32)[:, None][:, 0], score)


def test_exchanged_scores_are_the_same_scores_of_each_diagnosis() -> None:
    photos = drawn(1)
    other = photos.exchanged(np.random.default_rng(0))
    assert not np.array_equal(other.score, photos.score)
    for members in (photos.malignant, ~photos.malignant):
        assert np.array_equal(np.sort(other.score[members]), np.sort(photos.score[members]))


def test_resampled_lesions_keep_their_photos_together() -> None:
    photos = drawn(1).resampled(np.random.default_rng(0))
    names = [p.lesion for p in photos.listed]
    assert len(set(names)) == LESIONS
    assert all(names.count(name) == 2 for name in names[:20])
    score = {name: {s for n, s in zip(names, photos.score, strict=True) if n == name} for name in set(names[:20])}
    assert all(len(found) == 1 for found in score.values())


def test_the_ideal_release_holds_only_the_diagnosis() -> None:
    found = compare(drawn(1), drawn(2), 6, 0.1167, resamples=30)
    ours, ideal = found["ours"], found["ideal"]
    assert ours["A7"]["met"] < 0.1
    assert ours["age"]["met"] < 0.1
    assert ideal["A7"]["met"] > 0.9
    assert ideal["age"]["margin"] < ours["age"]["margin"] - 0.05
    assert ideal["AUC"]["margin"] == pytest.approx(ours["AUC"]["margin"], abs=0.004)
    assert ours["all"]["met"] <= min(chance["met"] for name, chance in ours.items() if name != "all")


@pytest.mark.filterwarnings("ignore")
def test_photos_are_scored_by_the_members_in_the_run_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several views of a photo its centre square counts; the study trains the members where none are there."""
    rng, data = np.random.default_rng(0), listed("clinic")
    maps = rng.normal(size=(2, 5, 5, 4)).astype(np.float16)
    views = Cached(maps, np.ones((2, 1), np.float32), np.ones((2, 1), np.float32), np.zeros(2, int), maps[..., :3])
    monkeypatch.setattr(attainable_goals, "shipped_of", lambda *_: None)
    monkeypatch.setattr(attainable_goals, "load_cached", lambda *_, **__: (views, views))
    own, victims = attainable_goals.read(tmp_path, data, "tiny", 1, CertifiedRecipe(members=1, epochs=1))
    assert (tmp_path / WEIGHTS).is_file()
    assert (len(own.score), len(victims.score), own.malignant.tolist()) == (1, 1, [True])
    assert own.score == victims.score
