"""What lies beside a run is used again only where it was made by the same settings from the same photos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
pytest.importorskip("sklearn")

import keras
from PIL import Image

from securesplit.atomic import atomic_folder_replacement
from securesplit.imaging.synthetic import draw_lesion
from tests.training.drawn_photos import draw_isic
from training.data.dataset import Dataset
from training.network import run_record
from training.network.validation import DivergedError
from training.release import cache, encoders
from training.release.cache import Cached
from training.release.encrypted import maps
from training.release.encrypted.distillation import Distillation
from training.release.presets import certified
from training.release.presets.certified import CertifiedRecipe, train_certified, train_score
from training.release.presets.compact import train_compact, val_auc

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore")]


def cached(seed: int, photos: int = 40) -> Cached:
    rng = np.random.default_rng(seed)
    malignant = (np.arange(photos) % 2).astype(np.float32)[:, None]
    maps = (rng.random((photos, 5, 5, 8)) + malignant[:, :, None, None]).astype(np.float16)
    thumbnails = rng.random((photos, 8, 8, 3)).astype(np.float16)
    return Cached(maps, 2 * malignant - 1, malignant, np.arange(photos), thumbnails)


def trained(run: Path, train: Cached, epochs: int, seed: int = 1) -> int:
    """How many epochs were trained."""
    cut = keras.Input((5, 5, 8))
    tail = keras.Model(cut, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(cut)))
    trained: list[Any] = []
    fit = keras.Model.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", lambda *a, **k: trained.append(1) or fit(*a, **k))
        train_compact(tail, train, cached(9), encoders.compact_spec((5, 5, 8)), run, epochs=epochs, seed=seed)
    return len(trained)


@pytest.mark.slow
def test_compact_is_trained_again_where_its_settings_changed(tmp_path: Path) -> None:
    (tmp_path / "best.weights.h5").write_bytes(b"older than what follows")
    assert trained(tmp_path, cached(1), epochs=1) == 1
    assert trained(tmp_path, cached(1), epochs=1) == 0
    assert trained(tmp_path, cached(1), epochs=2) == 2
    assert trained(tmp_path, cached(1), epochs=2, seed=5) == 2
    assert trained(tmp_path, cached(2), epochs=2, seed=5) == 2  # other photos, or other weights before the cut
    assert not list(tmp_path.glob("partial-*"))


@pytest.mark.parametrize("preset", ["certified", "encrypted"])
def test_a_preset_that_diverges_is_an_error_with_a_hint(tmp_path: Path, preset: str) -> None:
    """By maps that half precision could not hold; nothing of it is kept as finished."""
    with pytest.raises(DivergedError) as caught:
        train_preset(preset, without_bounds(cached(1)), cached(9), tmp_path)
    assert "--run" in caught.value.hint
    assert not [*tmp_path.rglob("*.json")]


def test_answers_that_are_not_finite_get_no_levels_and_no_auc() -> None:
    member = encoders.certified_member((5, 5, 8))
    for measure in (
        lambda maps: certified.scores_of(encoders.certified_score([member]), maps),
        lambda maps: val_auc(keras.Model(member.input, {"malignant": member.output}), maps),
    ):
        with pytest.raises(DivergedError):
            measure(without_bounds(cached(1)))


def without_bounds(given: Cached) -> Cached:
    return replace(given, maps=np.full_like(given.maps, np.inf))


def train_preset(preset: str, train: Cached, val: Cached, run: Path) -> None:
    """One epoch."""
    if preset == "encrypted":
        own, theirs = (maps.Maps(c.maps, c.teacher[:, 0], c.malignant[:, 0]) for c in (train, val))
        Distillation(train.maps.shape[1:], {"epochs": 1, "views": 0, "seed": 1}).best(own, theirs, run)
    else:
        recipe, secrets = CertifiedRecipe(members=1, epochs=1), np.zeros((len(train.maps), 2), np.float32)
        train_certified(train, val, secrets, encoders.certified_spec(6, 0.15), run, recipe)


def test_private_is_trained_again_where_its_settings_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []

    def members(train: Cached, _secrets: Any, recipe: CertifiedRecipe) -> tuple[keras.Model, list[float]]:
        trained.append(recipe)
        made = [encoders.certified_member(train.maps.shape[1:]) for _ in range(recipe.members)]
        return encoders.certified_score(made), []

    monkeypatch.setattr("training.release.presets.certified.trained_score", members)
    recipe, file, secrets = (
        CertifiedRecipe(members=1, epochs=1),
        tmp_path / "certified.weights.h5",
        np.zeros((40, 2), np.float32),
    )
    for train, hidden, chosen, count in (
        (cached(1), secrets, recipe, 1),
        (cached(1), secrets, recipe, 1),
        (cached(1), secrets, replace(recipe, levels=4), 1),  # fitted afterwards
        (cached(1), secrets, replace(recipe, epochs=2), 2),
        (cached(2), secrets, replace(recipe, epochs=2), 3),
        (cached(2), secrets + 1, replace(recipe, epochs=2), 4),
    ):
        train_score(train, hidden, file, chosen)
        assert len(trained) == count


def test_notes_beside_members_of_earlier_releases_stay_valid() -> None:
    assert set(certified._of_members(CertifiedRecipe())) == {
        *("towers", "epochs", "noise", "regularisers", "learning_rate", "seed"),
    }


@pytest.mark.parametrize("spoil", ["{", "{}", "[]", json.dumps({"settings": {"epochs": 2}, "val_auc": 0.9})])
def test_a_note_of_something_else_is_no_finished_training(tmp_path: Path, spoil: str) -> None:
    weights = tmp_path / "compact.weights.h5"
    weights.write_bytes(b"w")
    run_record.finish(weights, {"epochs": 1}, {"val_auc": 0.9})
    assert run_record.finished(weights, {"epochs": 1}) is not None
    weights.with_suffix(".json").write_text(spoil)
    assert run_record.finished(weights, {"epochs": 1}) is None


def test_caches_are_made_again_for_other_photos_or_weights(tmp_path: Path) -> None:
    file, made = tmp_path / "views-train-1.npz", cached(1)
    np.savez(file, made_from=np.array("weights photos"), **cache.arrays_of(made))
    found = cache.stored_cache(file, "weights photos")
    assert found is not None
    assert found.digest == made.digest
    assert cache.stored_cache(file, "weights others") is None
    np.savez(file, **cache.arrays_of(made))  # as earlier versions wrote it
    assert cache.stored_cache(file, "weights photos") is None


def test_caches_are_made_again_for_photos_that_were_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_isic(tmp_path / "data")
    (tmp_path / "best.weights.h5").write_bytes(b"weights")
    monkeypatch.setattr(cache.run_record, "best_weights", lambda run: run / "best.weights.h5")
    made: list[int] = []
    monkeypatch.setattr(cache, "cache_split", lambda *_, **__: made.append(1) or cached(len(made)))

    def loaded() -> list[str]:
        data = Dataset.read(tmp_path / "data", tmp_path / "pixels")
        return [each.digest for each in cache.load_cached(tmp_path, SimpleNamespace(), data, "small", views=1)]

    first = loaded()
    assert loaded() == first
    photo = next((tmp_path / "data" / "images").glob("*.jpg"))
    Image.fromarray(draw_lesion(99, 61)).save(photo)
    assert not {*loaded()} & {*first}
    assert len(made) == 4


def test_a_folder_in_use_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "head").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_folder_replacement(folder) as own:
        (own / "absent").read_text()
    assert (folder / "head").read_text() == "old"
    with atomic_folder_replacement(folder) as own:
        (own / "head").write_text("new")
        assert (folder / "head").read_text() == "old"
    assert (folder / "head").read_text() == "new"
    assert [f.name for f in tmp_path.iterdir()] == ["bundle"]
