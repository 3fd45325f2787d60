"""The layouts compute matrix products: rotations and products of plain vectors, checked against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from securesplit.encrypted.layout import Layout

LAYOUTS = [Layout(), Layout(16, 8, 64), Layout(8, 8, 64), Layout(32, 4, 64)]


def rotated_sum(slots: NDArray[np.float64], steps: tuple[int, ...]) -> NDArray[np.float64]:
    for step in steps:
        slots = slots + np.roll(slots, -step)
    return slots


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_one_photo_alone(layout: Layout) -> None:
    rng = np.random.default_rng(1)
    weights, x = rng.normal(size=(layout.hidden, layout.features)), rng.normal(size=layout.features)
    vectors, reached = layout.first_alone(weights)
    packed = layout.pack(x[None])
    products = sum(np.roll(packed, -i) * vector for i, vector in enumerate(vectors))
    hidden = rotated_sum(np.asarray(products), (*layout.copies, *layout.folds))
    expected = (weights * reached) @ x
    np.testing.assert_allclose(hidden, np.tile(expected, layout.slots // layout.hidden))
    second = rng.normal(size=(layout.hidden, layout.hidden))
    units = rotated_sum(hidden * layout.second_alone(second), layout.row)
    np.testing.assert_allclose(units[: layout.hidden**2 : layout.hidden], second @ expected)
    bias = rng.normal(size=layout.hidden)
    answer = rotated_sum((units + layout.per_unit_alone(bias, first=False)) ** 2, layout.rows)
    np.testing.assert_allclose(answer[layout.places(1)], np.sum((second @ expected + bias) ** 2))


def test_the_shipped_layout_leaves_out_six_weights_of_sixteen_thousand() -> None:
    _vectors, reached = Layout().first_alone(np.ones((64, 256)))
    assert (~reached).sum() == 6


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_batch(layout: Layout) -> None:
    rng = np.random.default_rng(2)
    wide = layout.batch
    photos = rng.normal(size=(wide, layout.features))
    weights = rng.normal(size=(layout.hidden, layout.features))

    def by_diagonals(slots: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(layout.slots)
        for g, step in enumerate(layout.diagonals(matrix)):
            inner = sum(np.roll(slots, -i * wide) * vector for i, vector in enumerate(step))
            total += np.roll(np.asarray(inner), -g * layout.baby * wide)
        return total

    hidden = rotated_sum(by_diagonals(layout.pack(photos), weights), tuple(wide * step for step in layout.folds))
    expected = photos @ weights.T
    np.testing.assert_allclose(hidden.reshape(layout.features, wide)[: layout.hidden].T, expected)
    second = rng.normal(size=(layout.hidden, layout.hidden))
    units = by_diagonals(hidden, second)
    np.testing.assert_allclose(units.reshape(layout.features, wide)[: layout.hidden].T, expected @ second.T)
    bias = rng.normal(size=layout.hidden)
    answers = rotated_sum((units + layout.per_unit_batch(bias)) ** 2, tuple(wide * step for step in layout.row))
    summed = np.sum((expected @ second.T + bias) ** 2, axis=1, keepdims=True)
    np.testing.assert_allclose(answers[layout.places(wide)], np.broadcast_to(summed, (wide, layout.features)))


@pytest.mark.parametrize("count", [0, 17])
def test_more_photos_than_fit_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Layout().pack(np.zeros((count, 256)))


def test_every_rotation_has_a_key() -> None:
    layout = Layout()
    used = {*range(1, layout.stride), *layout.copies, *layout.folds, *layout.row, *layout.rows}
    assert used <= set(layout.rotations)
    assert 0 not in layout.rotations
