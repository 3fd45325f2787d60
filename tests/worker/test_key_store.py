"""Evaluation keys in the front: in order, by their owner, within their bound, and never under a running batch."""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securesplit.encrypted.messages import CHUNK_BYTES, MAX_KEY_BYTES, ChunkAnswer, ChunkStatus, KeyChunk, chunk_of
from securesplit.transport.failover import Timeouts
from securesplit.worker import key_store
from securesplit.worker.key_arena import KeyArena, map_for_reading
from securesplit.worker.key_store import ABANDONED_S, RESTING_S, KeyStore
from securesplit.worker.monitoring.counters import Counters

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
        self.store = KeyStore(int(keys * pages), lambda: self.now, self.counters)
        self.view = map_for_reading(os.dup(self.store.arena.descriptor), self.store.arena.size)
        _opened.append(self)

    def upload(self, owner: str, data: bytes) -> ChunkAnswer:
        answer = ChunkAnswer(GO_ON)
        while answer.status is GO_ON and answer.received < len(data):
            answer = self.store.add(owner, chunk_of(data, digest(data), answer.received))
        return answer

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
    monkeypatch.setattr(key_store, "_USUAL_BYTES", CHUNK_BYTES // 2)
    yield
    while _opened:
        stored = _opened.pop()
        stored.view.close()
        stored.store.close()


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


def test_another_total_under_one_digest_is_refused() -> None:
    s, data = Stored(), blob(1)
    s.store.add("a", chunk_of(data, digest(data), 0))
    assert s.store.add("a", KeyChunk(digest(data), 0, 9, bytes(9))).status is REFUSED
    assert s.store.add("a", chunk_of(data, digest(data), CHUNK_BYTES)).status is GO_ON
    assert s.seen("a", data) == data


def test_a_client_has_one_upload_in_progress_until_it_is_abandoned() -> None:
    s, first, second = Stored(), blob(1), blob(2)
    s.store.add("a", chunk_of(first, digest(first), 0))
    assert s.upload("a", second) == ChunkAnswer(NO_ROOM, 0)
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
        s.upload("many", key)
    assert s.upload("new", many[3]).status is GO_ON
    assert s.store.holds("single", digest(single))
    assert [s.store.holds("many", digest(key)) for key in many[:3]] == [False, True, True]
    assert s.counters.key_evictions == 1


def test_of_equals_the_least_recently_used_goes() -> None:
    s = Stored(keys=3)
    keys = {owner: blob(ord(owner)) for owner in "abcd"}
    for owner in "abc":
        s.upload(owner, keys[owner])
    s.store.holds("a", digest(keys["a"]))
    s.upload("d", keys["d"])
    assert [s.store.holds(owner, digest(keys[owner])) for owner in "abcd"] == [True, False, True, True]


def test_a_key_in_use_is_not_evicted_nor_written_over() -> None:
    s, used, other = Stored(keys=1), blob(1), blob(2)
    s.upload("a", used)
    pinned = s.store.pin("a", digest(used))
    assert pinned is not None
    for owner in ("a", "b"):
        assert s.upload(owner, other) == ChunkAnswer(NO_ROOM, 0)
    assert s.view[pinned.offset : pinned.offset + pinned.total] == used
    s.store.unpin(pinned)
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
    assert s.upload("c4", keys[4]).status is GO_ON


@pytest.mark.skipif(sys.platform != "linux", reason="holes are punched on Linux")
def test_eviction_gives_the_memory_back() -> None:
    s = Stored(keys=2)
    for seed in range(12):
        s.upload(f"c{seed}", blob(seed))
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


def test_an_upload_that_was_given_up_does_not_outlast_the_next_request() -> None:
    device = Timeouts()
    assert device.try_s + device.connect_s < RESTING_S < device.total_s / 2
