"""Which cut is recommended, on made-up figures."""

from __future__ import annotations

import pytest

from securesplit.model.cut_choice import Latency, Link, Option, latency, recommend

SLOW, FAST = Link(bits_per_s=1e6), Link(bits_per_s=1e9)


def options(link: Link) -> list[Option]:
    """A network of 10 ms whose maps shrink towards its end: (layer, head ms, bytes, skill)."""
    cuts = [("early", 1.0, 100_000, 0.9), ("middle", 5.0, 10_000, 0.5), ("late", 9.0, 1_000, 0.2)]
    return [Option(name, latency(link, head, 10 - head, sent), sent, skill) for name, head, sent, skill in cuts]


def test_latency_is_head_transfer_and_tail() -> None:
    link = Link(bits_per_s=1e6, round_trip_ms=20, worker_speed=4)
    found = latency(link, 3.0, 8.0, 1000)
    assert found == Latency(head_ms=3.0, transfer_ms=8.0 + 20.0, tail_ms=2.0)
    assert found.total_ms == 33.0


def test_a_slow_link_wants_the_smallest_request() -> None:
    found = recommend(options(SLOW))
    assert found.layer == "late"
    assert "the lowest latency of 3 cuts: 18 ms (head 9, transfer 8, tail 1), 1,000 bytes" in found.reason


def test_a_fast_worker_on_a_fast_link_wants_the_shortest_head() -> None:
    fast = Link(bits_per_s=1e9, worker_speed=10)
    assert recommend(options(fast)).layer == "early"


def test_of_cuts_that_are_as_fast_the_one_that_leaks_least() -> None:
    equal = [Option(n, Latency(5, 1, 4 + more), 500, skill) for n, more, skill in (("a", 0, 0.6), ("b", 0.2, 0.3))]
    assert recommend(equal).layer == "b"
    assert "the least leakage of the 2 fastest" in recommend(equal).reason
    slower = [equal[0], Option("b", Latency(5, 1, 5), 500, 0.3)]
    assert recommend(slower).layer == "a"


def test_a_bound_on_leakage_comes_before_latency() -> None:
    fast = Link(bits_per_s=1e9, worker_speed=10)
    found = recommend(options(fast), max_leakage=0.5)
    assert found.layer == "middle"
    assert "2 cuts whose leakage is at most 0.5" in found.reason


def test_no_cut_that_leaks_little_enough() -> None:
    found = recommend(options(FAST), max_leakage=0.1)
    assert found.layer is None
    assert "no cut that was attacked leaks at most 0.1: the least is 0.20, at late" in found.reason


@pytest.mark.parametrize("bound", [None, 1.0])
def test_what_was_not_attacked_is_not_below_any_bound(bound: float | None) -> None:
    unknown = [Option("a", Latency(1, 1, 1), 10, None)]
    found = recommend(unknown, bound)
    assert found.layer == ("a" if bound is None else None)
    assert recommend([], bound).layer is None


def test_a_cut_whose_requests_no_worker_takes_is_not_recommended() -> None:
    fast = options(Link(bits_per_s=1e9, worker_speed=10))
    assert recommend(fast, most_bytes=100_000).layer == "early"
    assert recommend(fast, most_bytes=99_999).layer == "middle"
    none = recommend(fast, most_bytes=999)
    assert (none.layer, none.reason) == (None, "every cut that was measured makes requests of over 999 bytes")
