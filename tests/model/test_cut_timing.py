"""Times of halves are taken in turn and brought to one measure."""

from __future__ import annotations

import itertools

import pytest

from securesplit.model import cut_timing
from securesplit.model.cut_timing import HEAD, LEAST_ROUNDS, MOST_ROUNDS, TAIL, WARM_UP, WHOLE


def test_actions_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    ticks = itertools.count()
    actions = {("a", HEAD): lambda: calls.append("a"), ("b", HEAD): lambda: calls.append("b")}
    taken = cut_timing.interleaved(actions, 3600, clock=lambda: next(ticks) / 1000)
    assert calls[: 2 * WARM_UP] == ["a"] * WARM_UP + ["b"] * WARM_UP
    assert calls[2 * WARM_UP :] == ["a", "b"] * MOST_ROUNDS
    assert taken == {key: pytest.approx([1.0] * MOST_ROUNDS) for key in actions}
    without_time = cut_timing.interleaved(actions, 0)
    assert {len(each) for each in without_time.values()} == {LEAST_ROUNDS}


def test_load_beside_one_group_of_cuts_is_taken_out() -> None:
    quiet = {WHOLE: [10.0] * 5, ("a", HEAD): [4.0] * 5, ("a", TAIL): [6.0] * 5}
    loaded = {WHOLE: [30.0] * 5, ("b", HEAD): [15.0] * 5, ("b", TAIL): [15.0] * 5}
    whole, cuts = cut_timing._to_one_measure([quiet, loaded])
    assert whole.median_ms == pytest.approx(20)
    assert (cuts["a"].head.median_ms, cuts["a"].tail.median_ms) == pytest.approx((8, 12))
    assert (cuts["b"].head.median_ms, cuts["b"].tail.median_ms) == pytest.approx((10, 10))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64])
def test_every_beginning_of_the_order_is_spread(count: int) -> None:
    order = cut_timing.spread(count)
    assert sorted(order) == list(range(count))
    begin = sorted(order[: count // 4])
    assert all(b - a >= 3 for a, b in itertools.pairwise(begin))
