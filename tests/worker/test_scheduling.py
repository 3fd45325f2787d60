"""Turns: nobody gets more by wanting more, nothing is lost, and a lane keeps its order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from securesplit.worker.scheduling import Turns

NAMES = st.sampled_from("abc")
LANES = st.sampled_from([b"1", b"2"])


@given(st.lists(st.tuples(NAMES, LANES), max_size=60))
def test_everything_comes_out_once_and_lanes_keep_their_order(places: list[tuple[str, bytes]]) -> None:
    turns: Turns[tuple[str, bytes, int]] = Turns()
    for n, (owner, lane) in enumerate(places):
        turns.put(owner, lane, (owner, lane, n))
    taken = []
    while (item := turns.peek()) is not None:
        assert turns.take() is item
        taken.append(item)
    assert sorted(n for _, _, n in taken) == list(range(len(places)))
    for place in set(places):
        own = [n for owner, lane, n in taken if (owner, lane) == place]
        assert own == sorted(own)
    assert len(turns) == 0
    assert turns.of("a") == 0


@given(st.lists(st.tuples(NAMES, LANES), min_size=1, max_size=60))
def test_among_those_who_wait_shares_differ_by_one_at_most(places: list[tuple[str, bytes]]) -> None:
    turns: Turns[tuple[str, bytes]] = Turns()
    for owner, lane in places:
        turns.put(owner, lane, (owner, lane))
    waiting = Counter(owner for owner, _ in places)
    shares: Counter[str] = Counter()
    while all(waiting.values()):
        owner, _ = turns.take()
        waiting[owner] -= 1
        shares[owner] += 1
        assert turns.of(owner) == waiting[owner]
        assert max(shares.values()) - min(shares[name] for name in waiting) <= 1


def test_an_occasional_client_goes_before_recent_ones() -> None:
    turns: Turns[str] = Turns()
    for _ in range(10):
        turns.put("greedy", b"1", "greedy")
    for _ in range(3):
        assert turns.take() == "greedy"
        turns.put("modest", b"2", "modest")
        assert turns.take() == "modest"


def test_owners_that_are_gone_are_forgotten() -> None:
    turns: Turns[int] = Turns()
    turns.put("stays", b"", 0)
    for n in range(5_000):
        turns.put(f"guest {n}", b"", n)
        turns.take()
    assert len(turns._last_turn) < 2_000


@given(st.lists(st.tuples(NAMES, LANES, st.booleans()), max_size=40))
def test_what_is_over_is_removed_and_the_rest_keeps_its_turn(places: list[tuple[str, bytes, bool]]) -> None:
    turns: Turns[tuple[str, bytes, bool, int]] = Turns()
    for n, (owner, lane, over) in enumerate(places):
        turns.put(owner, lane, (owner, lane, over, n))
    removed = turns.remove_where(lambda item: item[2])
    assert {item[3] for item in removed} == {n for n, place in enumerate(places) if place[2]}
    assert len(turns) == len(places) - len(removed)
    left = [turns.take() for _ in range(len(turns))]
    assert not any(item[2] for item in left)
