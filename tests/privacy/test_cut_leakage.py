"""The leakage of a cut: high where the map is the photo, none where it is noise, and never more memory than bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from securesplit.audit import cut_leakage, patches, photos
from securesplit.audit.cut_leakage import MOST_CELLS, MOST_CHANNELS, Leakage, Reduction
from securesplit.model.splitting import ANSWER

SHAPES = {"photo": (48, 48, 3), "noise": (8, 8, 4), "pooled": (3,)}


def maps(layers: Sequence[str]) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    def computed(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        x = pixels.astype(np.float32) / 255
        noise = np.random.default_rng(int(pixels.sum())).normal(size=(len(x), 8, 8, 4)).astype(np.float32)
        found = {"photo": x, "noise": noise, "pooled": x.mean((1, 2)), ANSWER: x.mean((1, 2, 3))[:, None]}
        return {layer: found[layer] for layer in layers}

    return computed


def measured(is_time: Callable[[], bool]) -> Leakage:
    collection = photos.load(None, 48, auxiliary=80, targets=40)
    return cut_leakage.measure(maps, SHAPES, collection, is_time)


def test_a_map_that_is_the_photo_gives_it_away_and_noise_does_not() -> None:
    found = measured(lambda: True)
    assert (found.photos, found.targets, found.source) == (80, 40, "synthetic lesions")
    assert found.skill["photo"].mean > 0.95
    assert found.skill["noise"].mean < 0.1
    assert found.answer_skill.mean < found.skill["pooled"].mean < found.skill["photo"].mean
    assert found.mean_mse > 0


def test_without_time_one_cut_is_attacked() -> None:
    assert list(measured(lambda: False).skill) == ["photo"]


def test_maps_are_reduced_to_a_bounded_size() -> None:
    sample = np.random.default_rng(0).normal(size=(2, 75, 50, 40)).astype(np.float32)
    assert Reduction(sample)(sample).shape == (2, MOST_CELLS, MOST_CELLS, MOST_CHANNELS)
    flat = sample.reshape(2, -1)[:, :1000]
    assert Reduction(flat)(flat).shape == (2, MOST_CHANNELS)


def test_cells_are_means_of_what_they_cover() -> None:
    assert patches.area_weights(4, 2) == pytest.approx(np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]))
    assert patches.area_weights(3, 2) == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]))
    weights = patches.area_weights(150, 32)
    assert weights.sum(1) == pytest.approx(np.ones(32))
    assert weights.sum(0) == pytest.approx(np.full(150, 32 / 150))


def test_cuts_are_attacked_in_groups_that_fit() -> None:
    shapes = {f"cut {i}": (64, 64, 64) for i in range(30)}
    groups = list(cut_leakage._groups(shapes, photos=280))
    assert [layer for group in groups for layer in group] == list(shapes)
    largest = max(len(group) for group in groups) * 280 * MOST_CELLS**2 * MOST_CHANNELS * 4
    assert largest <= cut_leakage.MOST_KEPT_BYTES
