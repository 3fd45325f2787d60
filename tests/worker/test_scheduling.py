"""Fair scheduling: nobody gets more by wanting more, nothing is lost, a lane keeps its order, the queue is bounded."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from securesplit.worker.jobs import Job
from securesplit.worker.scheduling import FairQueue, FairScheduler

NAMES = st.sampled_from("abc")
LANES = st.sampled_from([b"1", b"2"])


@given(st.lists(st.tuples(NAMES, LANES), max_size=60))
def test_everything_comes_out_once_and_lanes_keep_their_order(places: list[tuple[str, bytes]]) -> None:
    turns: FairScheduler[tuple[str, bytes, int]] = FairScheduler()
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
    turns: FairScheduler[tuple[str, bytes]] = FairScheduler()
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
    turns: FairScheduler[str] = FairScheduler()
    for _ in range(10):
        turns.put("greedy", b"1", "greedy")
    for _ in range(3):
        assert turns.take() == "greedy"
        turns.put("modest", b"2", "modest")
        assert turns.take() == "modest"


def test_owners_that_are_gone_are_forgotten() -> None:
    turns: FairScheduler[int] = FairScheduler()
    turns.put("stays", b"", 0)
    for n in range(5_000):
        turns.put(f"guest {n}", b"", n)
        turns.take()
    assert len(turns._last_turn) < 2_000


@given(st.lists(st.tuples(NAMES, LANES, st.booleans()), max_size=40))
def test_what_is_over_is_removed_and_the_rest_keeps_its_turn(places: list[tuple[str, bytes, bool]]) -> None:
    turns: FairScheduler[tuple[str, bytes, bool, int]] = FairScheduler()
    for n, (owner, lane, over) in enumerate(places):
        turns.put(owner, lane, (owner, lane, over, n))
    removed = turns.remove_where(lambda item: item[2])
    assert {item[3] for item in removed} == {n for n, place in enumerate(places) if place[2]}
    assert len(turns) == len(places) - len(removed)
    left = [turns.take() for _ in range(len(turns))]
    assert not any(item[2] for item in left)


def job(client: str = "a", session: int = 0, ref: int = 0, preset: str = "p", expires_at: float = 1e9) -> Job:
    return Job((bytes([session]), ref), client, preset, np.zeros(8, np.int8), expires_at)


def names(jobs: list[Job]) -> list[tuple[str, bytes, int]]:
    return [(j.client, *j.key) for j in jobs]


def test_clients_take_turns_and_their_sessions_share_one() -> None:
    queue = FairQueue(100)
    for ref in range(6):
        assert queue.put(job("greedy", session=ref % 2, ref=ref)) is None
    assert queue.put(job("modest", session=9, ref=0)) is None
    assert names(queue.take(4)) == [("greedy", b"\0", 0), ("modest", b"\x09", 0)]
    assert names(queue.take(4)) == [("greedy", b"\1", 1)], "somebody is there besides: one at a time"
    assert names(queue.take(4)) == [("greedy", b"\0", 2)]


def test_a_batch_makes_nobody_wait_for_a_client_of_whom_more_waits() -> None:
    queue = FairQueue(100)
    for ref in range(6):
        queue.put(job("greedy", ref=ref))
    queue.put(job("modest", ref=0))
    queue.take(8)
    queue.put(job("modest", ref=1))
    queue.put(job("other", ref=0))
    assert [j.client for j in queue.take(8)] == ["other"], "greedy's turn comes after it, not beside it"
    assert [j.client for j in queue.take(8)] == ["greedy", "modest"]


def test_clients_that_all_have_work_share_batches() -> None:
    queue = FairQueue(100)
    for ref in range(3):
        for client in "abcd":
            queue.put(job(client, ref=ref))
    for _ in range(3):
        assert sorted(j.client for j in queue.take(8)) == ["a", "b", "c", "d"]


def test_a_client_that_is_alone_fills_batches_until_somebody_comes() -> None:
    queue = FairQueue(1_000)
    for ref in range(300):
        queue.put(job("alone", ref=ref))
    assert len(queue.take(8)) == 8
    queue.put(job("guest"))
    assert [j.client for j in queue.take(8)] == ["guest"]
    assert [len(queue.take(8)) for _ in range(128)] == [1] * 128
    assert len(queue.take(8)) == 8, "nobody has shared the last 128 turns"


def test_a_full_queue_accepts_only_jobs_of_a_dead_tail() -> None:
    queue = FairQueue(1)
    first = job(ref=1)
    assert queue.put(first) is None
    second = job(ref=2)
    assert queue.put(second) is second
    for ref in (3, 4):
        queue.give_back(job(ref=ref))
    assert [[j.key[1] for j in queue.take(8)] for _ in range(2)] == [[3], [4]], "they go first, and alone"
    assert queue.take(8) == [first]
    assert queue.take(8) == []
    assert len(queue) == 0


def test_a_full_queue_sheds_from_the_client_with_most_jobs() -> None:
    queue = FairQueue(6)
    for session, ref in [(1, 0), (2, 0), (2, 1), (2, 2)]:
        queue.put(job("greedy", session, ref))
    queue.put(job("other", 3, 0))
    queue.put(job("other", 3, 1))
    (lost,) = names([queue.put(job("modest", 4, 0)) or job()])
    assert lost == ("greedy", b"\2", 2)
    own = job("greedy", 1, 9)
    assert queue.put(own) is own, "it has more than anybody"


def test_a_full_queue_of_given_back_jobs_refuses() -> None:
    queue = FairQueue(1)
    queue.give_back(job(ref=1))
    refused = job("b", ref=2)
    assert queue.put(refused) is refused


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), max_size=200), st.integers(1, 12))
def test_whoever_has_less_than_another_finds_a_place(asks: list[tuple[str, int]], limit: int) -> None:
    queue, has = FairQueue(limit), Counter[str]()
    for ref, (client, session) in enumerate(asks):
        asked, most, was_full = job(client, session, ref), max(has.values(), default=0), len(queue) == limit
        lost = queue.put(asked)
        has[client] += 1
        if lost is not None:
            has[lost.client] -= 1
            assert was_full
        if lost is asked:
            assert has[client] == most
        elif lost is not None:
            assert has[lost.client] == most - 1
        assert len(queue) == sum(has.values()) <= limit
    assert Counter(each.client for each in queue.take_all()) == +has


def test_a_batch_holds_one_preset() -> None:
    queue = FairQueue(10)
    for ref, preset in enumerate(["p", "p", "q"]):
        queue.put(job(ref=ref, preset=preset))
    assert [j.preset for j in queue.take(8)] == ["p", "p"]
    assert [j.preset for j in queue.take(8)] == ["q"]


def test_abandoned_jobs_are_dropped_even_when_requeued() -> None:
    queue = FairQueue(10)
    stale, returned, fresh = job(ref=1, expires_at=1.0), job(ref=2, expires_at=1.0), job(ref=3, expires_at=3.0)
    queue.put(stale)
    queue.put(fresh)
    queue.give_back(returned)
    queue.put(job(ref=4, expires_at=2.0))  # nobody waits from then on
    assert {j.key[1] for j in queue.drop_expired(2.0)} == {1, 2, 4}
    assert len(queue) == 1
    assert queue.take_all() == [fresh]
    assert len(queue) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=60), st.integers(1, 8))
def test_every_job_is_served_once_and_in_turn(asks: list[tuple[str, int]], most: int) -> None:
    queue = FairQueue(1_000)
    for ref, (client, session) in enumerate(asks):
        assert queue.put(job(client, session, ref)) is None
    left = [client for client, _ in asks]
    taken = dict.fromkeys("abc", 0)
    seen = set()
    while len(queue):
        for got in queue.take(most):
            assert got.key not in seen
            seen.add(got.key)
            left.remove(got.client)
            taken[got.client] += 1
            waiting = [taken[client] for client in set(left)]
            assert all(taken[got.client] <= other + 1 for other in waiting)
    assert len(seen) == len(asks)


def test_a_batch_holds_no_more_than_is_affordable_of_its_preset() -> None:
    queue = FairQueue(100)
    for ref in range(6):
        queue.put(job("a", 0, ref))
    assert len(queue.take(8, lambda preset: 2)) == 2
    assert len(queue.take(8, lambda preset: 100)) == 4


def large(client: str, ref: int, size: int) -> Job:
    """A ciphertext is 150 kB, and a queue of them would fill the front's memory."""
    return Job((client.encode(), ref), client, "p", np.zeros(size, np.uint8), 1e9)


def test_jobs_that_wait_take_a_bounded_memory() -> None:
    queue, shed = FairQueue(1_000, limit_bytes=100), list[Job]()
    for ref in range(9):
        assert queue.put(large("greedy", ref, 20)) is None
        while (lost := queue.shed()) is not None:
            shed.append(lost)
    assert [lost.key[1] for lost in shed] == [5, 6, 7, 8], "its latest"
    queue.put(large("modest", 0, 60))
    while (lost := queue.shed()) is not None:
        shed.append(lost)
    assert [lost.client for lost in shed[4:]] == ["greedy"] * 3
    assert queue.shed() is None
    assert {job.client for job in queue.take(9)} == {"greedy", "modest"}
    for client in "abcdef":
        queue.put(large(client, 0, 20))
    queue.take_all()
    queue.put(large("a", 1, 100))
    assert queue.shed() is None, "what was taken or removed weighs nothing any more"
