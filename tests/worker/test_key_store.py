"""Evaluation keys in the front: in order, by their owner, within their bound, and never under a running batch."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import random
import resource
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securesplit.channel.trust import Chain, ShownCertificate
from securesplit.encrypted.messages import CHUNK_BYTES, MAX_KEY_BYTES, ChunkAnswer, ChunkStatus, KeyChunk
from securesplit.transport.failover import Timeouts
from securesplit.worker import key_store
from securesplit.worker.key_arena import KeyArena, map_for_reading
from securesplit.worker.key_store import ABANDONED_S, RESTING_S, KeyStore
from securesplit.worker.key_turns import EvictedKeys, LoadedKeys
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.upload_queue import GONE_S
from securesplit_testing.encryption import chunk_of

GO_ON, RESTART, REFUSED, NO_ROOM = ChunkStatus
PAGE = mmap.PAGESIZE


def blob(seed: int, size: int = CHUNK_BYTES + 5) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


_opened: list[Stored] = []


class Stored:
    """A store with a clock that stands still, places for small keys, and a tail's view of its arena."""

    def __init__(self, keys: float = 4.0, size: int = CHUNK_BYTES + 5) -> None:
        self.now, self.counters = 0.0, Counters()
        pages = -(-size // PAGE) * PAGE
        self.luck = 0.99  # of guests that become residents: the lowest eighth does
        self.store = KeyStore(int(keys * pages), lambda: self.now, self.counters, lambda: self.luck)
        self.view = map_for_reading(os.dup(self.store.arena.descriptor), self.store.arena.size)
        _opened.append(self)

    def upload(self, owner: str, data: bytes) -> ChunkAnswer:
        answer = ChunkAnswer(GO_ON)
        while answer.status is GO_ON and answer.received < len(data):
            answer = self.store.add(owner, chunk_of(data, digest(data), answer.received))
        return answer

    def ask(self, owner: str, data: bytes) -> bool:
        """A request, as a device makes it: the keys are uploaded if they are not held; whether they were."""
        held = self.store.holds(owner, digest(data))
        if not held:
            assert self.upload(owner, data).status is GO_ON
        assert self.seen(owner, data) == data
        return held

    def seen(self, owner: str, data: bytes) -> bytes | None:
        """What a tail sees of a key; None where it is not held."""
        if (key := self.store.pin(owner, digest(data))) is None:
            return None
        self.store.unpin(key)
        return self.view[key.offset : key.offset + key.total]

    def memory_bytes(self) -> int:
        """What the system has given the arena."""
        return os.fstat(self.store.arena.descriptor).st_blocks * 512


@pytest.fixture(autouse=True)
def small_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(key_store, "LEAST_KEY_BYTES", CHUNK_BYTES // 2)
    yield
    while _opened:
        stored = _opened.pop()
        stored.view.close()
        stored.store.close()


@pytest.fixture
def page_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places for keys of a page."""
    monkeypatch.setattr(key_store, "LEAST_KEY_BYTES", PAGE)


def test_a_key_is_seen_by_tails_once_it_is_whole() -> None:
    s, data = Stored(), blob(1, 3 * CHUNK_BYTES)
    for offset in range(0, len(data), CHUNK_BYTES):
        assert s.seen("a", data) is None
        assert s.store.add("a", chunk_of(data, digest(data), offset)) == ChunkAnswer(GO_ON, offset + CHUNK_BYTES)
    assert s.seen("a", data) == data
    assert s.counters.key_uploads["done"] == 1
    assert s.counters.key_bytes == len(data)


def test_a_key_belongs_to_who_uploaded_it() -> None:
    s, data = Stored(), blob(1)
    s.upload("a", data)
    assert not s.store.holds("b", digest(data))
    assert s.store.pin("b", digest(data)) is None


def test_a_chunk_twice_changes_nothing() -> None:
    s, data = Stored(), blob(1, 2 * CHUNK_BYTES + 9)
    chunks = [chunk_of(data, digest(data), at) for at in range(0, len(data), CHUNK_BYTES)]
    for chunk in (chunks[0], chunks[0], chunks[1], chunks[0], chunks[1]):
        answer = s.store.add("a", chunk)
        assert answer.status is GO_ON
    assert answer.received == 2 * CHUNK_BYTES
    assert s.store.add("a", chunks[2]) == s.store.add("a", chunks[0]) == ChunkAnswer(GO_ON, len(data))
    assert s.seen("a", data) == data


def test_chunks_out_of_order_go_on_where_the_last_one_ended() -> None:
    s, data = Stored(), blob(1, 4 * CHUNK_BYTES)
    at = [chunk_of(data, digest(data), i * CHUNK_BYTES) for i in range(4)]
    assert s.store.add("a", at[1]) == ChunkAnswer(RESTART, 0)
    s.store.add("a", at[0])
    assert s.store.add("a", at[2]) == s.store.add("a", at[3]) == ChunkAnswer(RESTART, CHUNK_BYTES)
    assert s.seen("a", data) is None


def test_a_digest_that_lies_is_refused_and_forgotten() -> None:
    s, data = Stored(), blob(1)
    lie = digest(b"something else")
    assert s.store.add("a", chunk_of(data, lie, 0)).status is GO_ON
    assert s.store.add("a", chunk_of(data, lie, CHUNK_BYTES)) == ChunkAnswer(REFUSED, 0)
    assert not s.store.holds("a", lie)
    assert s.store.status.charged_bytes == 0
    assert s.counters.key_uploads["refused"] == 1
    assert s.upload("a", data).status is GO_ON


@pytest.mark.parametrize("total", [MAX_KEY_BYTES + 1, 1 << 40, (1 << 64) - 1])
def test_huge_totals_are_refused_before_anything_is_kept(total: int) -> None:
    s = Stored(keys=2_000)
    assert s.store.add("a", KeyChunk(bytes(32), 0, total, bytes(CHUNK_BYTES))) == ChunkAnswer(REFUSED, 0)
    assert (s.store.status.charged_bytes, s.memory_bytes()) == (0, 0)


def test_a_key_larger_than_the_bound_is_refused() -> None:
    s = Stored(keys=1)
    assert s.upload("a", blob(1, 3 * CHUNK_BYTES)).status is REFUSED


def test_what_is_too_small_for_keys_takes_no_place_of_others() -> None:
    """A client with many of a byte has few bytes, and would never be the one whose keys make room."""
    s = Stored(keys=4)
    for n in range(20):
        assert s.upload("many", n.to_bytes(CHUNK_BYTES // 2 - 1)).status is REFUSED
    assert [[s.ask(owner, blob(ord(owner))) for owner in "abcd"] for _ in range(2)] == [[False] * 4, [True] * 4]
    assert s.counters.key_uploads == {"done": 4, "refused": 20, "abandoned": 0}


def test_another_total_under_one_digest_is_refused() -> None:
    s, data = Stored(), blob(1)
    s.store.add("a", chunk_of(data, digest(data), 0))
    assert s.store.add("a", KeyChunk(digest(data), 0, 9, bytes(9))).status is REFUSED
    assert s.store.add("a", chunk_of(data, digest(data), CHUNK_BYTES)).status is GO_ON
    assert s.seen("a", data) == data


def test_a_client_has_one_upload_in_progress_until_it_is_abandoned() -> None:
    s, first, second = Stored(), blob(1), blob(2)
    s.store.add("a", chunk_of(first, digest(first), 0))
    assert s.upload("a", second).status is NO_ROOM
    assert s.upload("b", second).status is GO_ON
    s.now = RESTING_S
    assert s.upload("a", second).status is NO_ROOM
    s.now += 0.1
    assert s.upload("a", second).status is GO_ON
    assert s.store.add("a", chunk_of(first, digest(first), CHUNK_BYTES)) == ChunkAnswer(RESTART, 0)
    assert s.counters.key_uploads == {"done": 2, "refused": 0, "abandoned": 1}


def test_uploads_that_rest_give_way_to_other_clients() -> None:
    s, data = Stored(keys=2), blob(1)
    for owner in ("a", "b"):
        s.store.add(owner, chunk_of(data, digest(data), 0))
    assert s.upload("c", data).status is NO_ROOM
    s.now = RESTING_S + 0.1
    s.store.add("b", chunk_of(data, digest(data), CHUNK_BYTES))
    assert s.upload("c", data).status is GO_ON
    assert s.seen("b", data) == data


def test_an_upload_waits_for_its_device_until_it_is_abandoned() -> None:
    s, data = Stored(size=3 * CHUNK_BYTES), blob(1, 3 * CHUNK_BYTES)
    s.store.add("a", chunk_of(data, digest(data), 0))
    s.now = ABANDONED_S
    s.store.expire()
    assert s.store.add("a", chunk_of(data, digest(data), 2 * CHUNK_BYTES)) == ChunkAnswer(RESTART, CHUNK_BYTES)
    s.now += 0.1
    s.store.expire()
    assert s.store.add("a", chunk_of(data, digest(data), CHUNK_BYTES)) == ChunkAnswer(RESTART, 0)


def test_a_client_s_own_keys_go_first() -> None:
    s = Stored(keys=3)
    old, new, others, last = (blob(seed) for seed in range(4))
    s.upload("b", others)
    s.upload("a", old)
    s.upload("a", new)
    s.store.holds("a", digest(old))  # a use
    assert s.upload("a", last).status is GO_ON
    assert [s.store.holds("a", digest(key)) for key in (old, new, last)] == [True, False, True]
    assert s.seen("b", others) == others


def test_a_newcomer_takes_from_the_client_that_has_most() -> None:
    s = Stored(keys=4)
    single, *many = (blob(seed) for seed in range(5))
    s.upload("single", single)
    for key in many[:3]:
        s.ask("many", key)
    assert s.upload("new", many[3]).status is GO_ON
    assert s.store.holds("single", digest(single))
    assert [s.store.holds("many", digest(key)) for key in many[:3]] == [False, True, True]
    assert s.counters.key_evictions == 1


def test_who_has_most_is_told_by_bytes() -> None:
    """Not by how many keys they have, for which nobody is asked."""
    s = Stored(keys=6)
    large, *small = blob(0, 4 * CHUNK_BYTES), *(blob(seed, CHUNK_BYTES) for seed in (1, 2))
    for owner, key in (("two", small[0]), ("two", small[1]), ("one", large)):
        s.ask(owner, key)
    assert s.upload("new", blob(3)).status is GO_ON
    assert [s.store.holds("two", digest(key)) for key in small] == [True, True]
    assert not s.store.holds("one", digest(large))


def test_of_equals_the_least_recently_used_goes() -> None:
    s = Stored(keys=3)
    keys = {owner: blob(ord(owner)) for owner in "abcd"}
    for owner in "abca":
        s.ask(owner, keys[owner])
    s.upload("d", keys["d"])
    assert [s.store.holds(owner, digest(keys[owner])) for owner in "abcd"] == [True, False, True, True]


def test_a_key_in_use_is_not_evicted_nor_written_over() -> None:
    s, used, other = Stored(keys=1), blob(1), blob(2)
    s.upload("a", used)
    pinned = s.store.pin("a", digest(used))
    assert pinned is not None
    for owner in ("a", "b"):
        assert s.upload(owner, other).status is NO_ROOM
    assert s.view[pinned.offset : pinned.offset + pinned.total] == used
    s.store.unpin(pinned)
    s.now += GONE_S + 0.1  # "a" has asked first
    assert s.upload("b", other).status is GO_ON
    assert s.seen("a", used) is None
    assert s.seen("b", other) == other


def test_nothing_is_evicted_for_what_would_not_fit_anyway() -> None:
    s = Stored(keys=2)
    pinned, free = blob(1), blob(2)
    s.upload("a", pinned)
    s.upload("a", free)
    assert s.store.pin("a", digest(pinned)) is not None
    assert s.upload("a", blob(3, 2 * CHUNK_BYTES)).status is NO_ROOM
    assert s.store.holds("a", digest(free))


def test_uploads_of_many_clients_share_the_bound() -> None:
    """What has begun can be finished: the fifth waits, the four others do not lose their place."""
    s = Stored(keys=4)
    keys = [blob(seed) for seed in range(5)]
    began = [s.store.add(f"c{i}", chunk_of(key, digest(key), 0)).status for i, key in enumerate(keys)]
    assert began == [GO_ON] * 4 + [NO_ROOM]
    ends = [s.store.add(f"c{i}", chunk_of(key, digest(key), CHUNK_BYTES)).status for i, key in enumerate(keys[:4])]
    assert ends == [GO_ON] * 4
    assert s.upload("c4", keys[4]).status is NO_ROOM, "none of them has had its answer"
    assert s.seen("c1", keys[1]) == keys[1]
    assert s.upload("c4", keys[4]).status is GO_ON
    assert s.seen("c1", keys[1]) is None


@pytest.mark.skipif(sys.platform != "linux", reason="holes are punched on Linux")
def test_eviction_gives_the_memory_back() -> None:
    s = Stored(keys=2)
    for seed in range(12):
        s.ask(f"c{seed}", blob(seed))
    assert s.store.status.held == 2
    assert 0 < s.memory_bytes() <= s.store.status.limit_bytes


def test_the_sum_of_the_keys_is_never_over_the_bound_whatever_clients_do() -> None:
    rng = random.Random(7)
    s = Stored(keys=5)
    blobs = [blob(seed, rng.randrange(1, 3 * CHUNK_BYTES)) for seed in range(9)]
    pinned = []
    for _ in range(800):
        owner, data = rng.choice("abcd"), rng.choice(blobs)
        match rng.randrange(6):
            case 0:
                s.now += rng.random() * ABANDONED_S
                s.store.expire()
            case 1 if (key := s.store.pin(owner, digest(data))) is not None:
                pinned.append((key, data))
            case 2 if pinned:
                s.store.unpin(pinned.pop(rng.randrange(len(pinned)))[0])
            case _:
                offset = rng.randrange(-(-len(data) // CHUNK_BYTES)) * CHUNK_BYTES
                s.store.add(owner, chunk_of(data, digest(data), offset))
        assert s.store.status.charged_bytes <= s.store.status.limit_bytes
        for key, data in pinned:
            assert s.view[key.offset : key.offset + 64] == data[:64]
    assert s.counters.key_uploads["done"] > 10
    assert s.counters.key_evictions > 5
    assert s.memory_bytes() <= s.store.status.limit_bytes or sys.platform != "linux"


def turns(s: Stored, devices: int, rounds: int, pause_s: float = 1.0) -> list[list[bool]]:
    """Devices that ask one after the other: by round and device, whether its keys were held."""
    found = []
    for _ in range(rounds):
        found.append([s.ask(f"d{n}", blob(n, PAGE)) for n in range(devices)])
        s.now += pause_s
    return found


@pytest.mark.usefixtures("page_keys")
@pytest.mark.parametrize("devices", [5, 6, 8, 12])
def test_of_more_devices_than_places_in_turns_most_places_serve(devices: int) -> None:
    """By the least recently used none would find its keys."""
    s = Stored(keys=4, size=PAGE)
    first, *later = turns(s, devices, 30)
    assert not any(first)
    assert [sum(held) for held in later] == [3] * 29
    assert s.counters.key_returns == 29 * (devices - 3)


@pytest.mark.usefixtures("page_keys")
def test_no_device_is_a_guest_for_ever_nor_a_resident() -> None:
    s = Stored(keys=4, size=PAGE)
    rng = random.Random(3)
    s.store._evicted._random = rng.random
    found = np.array(turns(s, 6, 400))
    assert found.sum(1).mean() > 2.5
    assert (found.mean(0) > 0.2).all()
    assert (found.mean(0) < 0.8).all()


@pytest.mark.usefixtures("page_keys")
def test_residents_that_ask_for_nothing_any_more_give_way() -> None:
    s = Stored(keys=4, size=PAGE)
    turns(s, 4, 3)
    s.now += 4_000.0
    evening = [[s.ask(f"e{n}", blob(20 + n, PAGE)) for n in range(4)] for _ in range(3)]
    assert evening[1:] == [[True] * 4] * 2


@pytest.mark.usefixtures("page_keys")
def test_a_guest_that_comes_back_sooner_than_a_resident_takes_its_place() -> None:
    s = Stored(keys=2, size=PAGE)
    turns(s, 2, 1, pause_s=600.0)
    for n in (2, 3, 2, 3, 2, 3):
        s.now += 1.0
        s.ask(f"d{n}", blob(n, PAGE))
    assert s.counters.key_returns <= 2
    assert all(s.store.holds(f"d{n}", digest(blob(n, PAGE))) for n in (2, 3))


def test_a_new_device_is_a_guest_where_residents_ask_now_and_then() -> None:
    s = Stored(keys=2)
    for owner in "ab":
        s.ask(owner, blob(ord(owner)))
    for owner in "cd":  # each takes the guest's place, after the first one
        s.now += 10
        s.ask(owner, blob(ord(owner)))
    assert [s.store.holds(owner, digest(blob(ord(owner)))) for owner in "abcd"] == [False, True, False, True]


def test_what_was_used_within_the_hour_is_what_a_store_would_need() -> None:
    s = Stored(keys=1)
    for owner in "ab":
        s.ask(owner, blob(ord(owner)))
    assert s.store.status.wanted_bytes == 2 * s.store.status.charged_bytes
    s.now += 3_601
    assert s.store.status.wanted_bytes == s.store.status.charged_bytes


def test_of_keys_that_had_to_go_the_oldest_are_forgotten() -> None:
    evicted = EvictedKeys(lambda: 0.0, lambda: 0.99)
    names = [("owner", bytes([n % 256, n // 256])) for n in range(4_097)]
    for name in names:
        evicted.add(name, 0.0, 1)
    assert [evicted.returned(name) for name in (names[0], names[1], names[-1])] == [False, True, True]
    assert evicted.recent_bytes == 4_094


def test_an_upload_serves_one_request_whatever_others_do() -> None:
    """Without that a device that asks among many uploads again and again, and is given up after the third time."""
    s = Stored(keys=1)
    mine, other = blob(1), blob(2)
    assert s.upload("a", mine).status is GO_ON
    assert s.upload("b", other).status is NO_ROOM
    s.now += RESTING_S
    assert s.store.holds("a", digest(mine))
    s.now += RESTING_S
    assert s.upload("b", other).status is NO_ROOM, "a request has come and waits for a tail"
    pinned = s.store.pin("a", digest(mine))
    assert pinned is not None
    s.store.unpin(pinned, has_served=False)
    assert s.upload("b", other).status is NO_ROOM, "the tail has died, and another one computes it again"
    assert s.seen("a", mine) == mine
    assert s.upload("b", other).status is GO_ON


def test_keys_that_nobody_asks_about_do_not_hold_their_place() -> None:
    s = Stored(keys=1)
    s.upload("a", blob(1))
    s.now += RESTING_S + 0.1
    assert s.upload("b", blob(2)).status is GO_ON


def test_uploads_do_not_push_out_more_than_half_of_the_others() -> None:
    s = Stored(keys=4)
    for n in range(4):
        s.ask(f"d{n}", blob(n))
    news = [blob(10 + n) for n in range(4)]
    began = [s.store.add(f"n{n}", chunk_of(key, digest(key), 0)).status for n, key in enumerate(news)]
    assert began == [GO_ON, GO_ON, NO_ROOM, NO_ROOM]
    assert sum(s.store.holds(f"d{n}", digest(blob(n))) for n in range(4)) == 2


def test_who_waits_for_room_is_next_in_the_order_of_asking() -> None:
    s = Stored(keys=1)
    s.ask("a", blob(1))
    busy, keys = blob(2), {owner: blob(ord(owner)) for owner in "xyz"}
    s.store.add("b", chunk_of(busy, digest(busy), 0))
    waits = [s.upload(owner, keys[owner]) for owner in "xyz"]
    assert {answer.status for answer in waits} == {NO_ROOM}
    assert [answer.received for answer in waits] == sorted(answer.received for answer in waits)
    assert 0 < waits[0].received < waits[2].received <= 5_000
    assert s.store.status.waiting == 3
    s.upload("b", busy)
    assert s.seen("b", busy) == busy
    for owner in "zyx":
        assert s.upload(owner, keys[owner]).status is (GO_ON if owner == "x" else NO_ROOM)
    s.seen("x", keys["x"])
    s.now += GONE_S + 0.1
    assert s.upload("z", keys["z"]).status is GO_ON, "who has stopped asking is not waited for"


def test_who_waits_is_told_to_by_how_long_uploads_take() -> None:
    waits = []
    for took_s in (0.0, 6.0):
        s = Stored(keys=1)
        for turn in range(10):
            key = blob(turn)
            s.store.add("a", chunk_of(key, digest(key), 0))
            s.now += took_s
            s.ask("a", key)
        s.store.add("b", chunk_of(blob(99), digest(blob(99)), 0))
        waits.append(s.upload("c", blob(98)).received)
    assert waits[0] < 1_000 < 4_000 < waits[1]


def shown(owner: str, fingerprint: str) -> ShownCertificate:
    return ShownCertificate(fingerprint, owner, Chain((), ""))


def test_keys_of_certificates_that_are_no_longer_allowed_are_forgotten() -> None:
    """By the last certificate of their device: a renewal keeps them, and what a tail computes with goes after that."""
    s = Stored(keys=4)
    for owner in ("gone", "renewed", "used"):
        s.store.shown(shown(owner, f"{owner} 1"))
        s.ask(owner, blob(1))
    s.store.shown(shown("renewed", "renewed 2"))
    pinned = s.store.pin("used", digest(blob(1)))
    assert pinned is not None
    taken = s.store.status.charged_bytes
    s.store.keep(lambda certificate: certificate.fingerprint == "renewed 2")
    assert [s.store.holds(owner, digest(blob(1))) for owner in ("gone", "renewed", "used")] == [False, True, False]
    assert s.store.pin("used", digest(blob(1))) is None
    assert s.view[pinned.offset : pinned.offset + pinned.total] == blob(1), "a tail computes with it"
    s.store.unpin(pinned)
    assert s.store.status.charged_bytes == taken // 3
    assert s.counters.key_evictions == 0


def test_a_certificate_is_forgotten_with_its_keys_and_keys_of_none_are_kept_by_nobody() -> None:
    s = Stored()
    s.store.shown(shown("a", "a 1"))
    s.store.keep(lambda _certificate: True)
    s.ask("a", blob(1))
    s.store.keep(lambda _certificate: True)
    assert not s.store.holds("a", digest(blob(1)))


def test_a_device_that_is_allowed_again_finds_its_keys_while_a_tail_has_them() -> None:
    s = Stored()
    s.store.shown(shown("a", "a 1"))
    s.ask("a", blob(1))
    pinned = s.store.pin("a", digest(blob(1)))
    assert pinned is not None
    s.store.keep(lambda _certificate: False)
    s.store.keep(lambda _certificate: True)
    s.store.unpin(pinned)
    assert s.store.holds("a", digest(blob(1)))


@pytest.mark.usefixtures("page_keys")
def test_a_crowded_store_says_which_size_would_do(caplog: pytest.LogCaptureFixture) -> None:
    s = Stored(keys=4, size=PAGE)
    turns(s, 4, 3)
    s.store.expire()
    assert not caplog.records
    turns(s, 6, 3)
    for _ in range(3):
        s.store.expire()
        turns(s, 6, 1)
    (record,) = caplog.records
    assert (record.event, record.levelname) == ("evaluation-keys-crowded", "WARNING")  # type: ignore[attr-defined]
    assert "room for those of 4 devices" in record.getMessage()
    assert s.store.status.wanted_bytes == 6 * PAGE


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12))
def test_any_order_of_chunks_ends_with_the_whole_key(order: list[int]) -> None:
    s, data = Stored(), blob(1, 3 * CHUNK_BYTES + 1)
    for index in order:
        s.store.add("a", chunk_of(data, digest(data), index * CHUNK_BYTES))
    answer = s.store.add("a", chunk_of(data, digest(data), 0))
    while answer.received < len(data):
        answer = s.store.add("a", chunk_of(data, digest(data), answer.received))
    assert s.seen("a", data) == data


def test_a_tail_s_view_cannot_be_written_nor_the_arena_resized() -> None:
    arena = KeyArena(1)
    view = map_for_reading(os.dup(arena.descriptor), arena.size)
    with pytest.raises(TypeError, match="readonly"):
        view[0] = 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(arena.descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(arena.descriptor, arena.size)
    if sys.platform == "linux":
        with pytest.raises(PermissionError):
            os.ftruncate(arena._writable, 0)
    arena.close()


def test_a_machine_without_memory_files_uses_a_temporary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    s, data = Stored(), blob(1)
    s.upload("a", data)
    assert s.seen("a", data) == data


def test_a_full_machine_loses_the_upload_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    s, kept, data = Stored(), blob(1), blob(2)
    s.upload("a", kept)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert s.upload("a", data) == ChunkAnswer(NO_ROOM, 0)
    assert s.seen("a", kept) == kept
    assert s.upload("a", data).status is GO_ON


def test_what_a_full_machine_takes_in_part_is_not_taken_for_a_key() -> None:
    """A limit on the size of files stands in for the memory: the same call takes a part, and then fails."""
    s, data = Stored(), blob(1)
    place = s.store._free[-1] * MAX_KEY_BYTES
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (place + CHUNK_BYTES + 2, before[1]))
    try:
        answer = s.upload("a", data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer == ChunkAnswer(NO_ROOM, 0)
    assert s.seen("a", data) is None
    assert s.upload("a", data).status is GO_ON
    assert s.seen("a", data) == data


@pytest.mark.parametrize("piece", [0, 1])
def test_a_full_machine_leaves_what_is_owed_to_a_device(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """Its keys of before serve one request all the same, although it was about to upload others."""
    s = Stored(keys=3)
    mine, other = blob(1), blob(2)
    s.ask("b", blob(3))
    s.upload("a", mine)
    writes, pwrite = iter(range(9)), os.pwrite

    def fills(*args: Any) -> int:
        if next(writes) == piece:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(*args)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fills)
        assert s.upload("a", other) == ChunkAnswer(NO_ROOM, 0)
    news = [s.upload(f"n{n}", blob(10 + n)).status for n in range(3)]
    assert GO_ON in news
    assert s.seen("a", mine) == mine


def test_keys_that_were_uploaded_after_others_are_what_is_owed() -> None:
    s = Stored(keys=2)
    first, second = blob(1), blob(2)
    s.upload("a", first)
    s.upload("a", second)
    assert s.upload("b", blob(3)).status is GO_ON
    assert not s.store.holds("a", digest(first))
    assert s.seen("a", second) == second


def test_an_upload_that_was_given_up_does_not_outlast_the_next_request() -> None:
    device = Timeouts()
    assert device.try_s + device.connect_s < RESTING_S < device.total_s / 2


def loads(asked: list[int], places: int = 4) -> list[bool]:
    """For each request, whether a tail had to load its keys; at most `places` are loaded."""
    turns, loaded, found = LoadedKeys(places), set(), []
    for device in asked:
        digest = device.to_bytes(32)
        assert all((each.to_bytes(32) in turns) == (each.to_bytes(32) in loaded) for each in set(asked))
        found.append(digest not in loaded)
        loaded.discard(turns.use(digest))
        loaded.add(digest)
        assert len(loaded) <= places
    return found


@pytest.mark.parametrize(("devices", "most"), [(4, 0.05), (5, 0.5), (8, 0.7), (12, 0.85)])
def test_a_tail_keeps_keys_loaded_where_more_devices_take_turns(devices: int, most: float) -> None:
    """By the least recently used it would load them for each request, which takes five times as long as computing."""
    assert np.mean(loads([n % devices for n in range(600)])) <= most


def test_a_tail_lets_the_least_recently_used_keys_go() -> None:
    loaded = LoadedKeys(2)
    assert [loaded.use(digest) for digest in (b"a", b"b", b"a", b"c")] == [None, None, None, b"b"]


def test_a_tail_follows_devices_that_change() -> None:
    morning, evening = [n % 4 for n in range(200)], [10 + n % 4 for n in range(200)]
    assert sum(loads(morning + evening)[220:]) == 0
