"""Pauses and deadlines, with clock and randomness held still."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from securesplit.transport.retry import Backoff, Deadline


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=80), st.floats(0, 10))
def test_pauses_grow_to_the_cap_and_honour_the_worker(draws: list[float], asked_s: float) -> None:
    numbers = iter(draws)
    backoff = Backoff(lambda: next(numbers), first_s=0.05, cap_s=1.0)
    for tries in range(len(draws)):
        longest = min(1.0, 0.05 * 2.0**tries)
        pause_s = backoff.next_s(asked_s)
        assert max(asked_s, longest / 2 if not asked_s else 0.0) <= pause_s <= asked_s + longest


def test_a_deadline_counts_down_to_nil() -> None:
    now = 10.0
    deadline = Deadline(2.0, lambda: now)
    assert (deadline.left_s, deadline.elapsed_s) == (2.0, 0.0)
    now = 11.5
    assert (deadline.left_s, deadline.elapsed_s) == (0.5, 1.5)
    now = 99.0
    assert deadline.left_s == 0.0
