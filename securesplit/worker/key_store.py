"""Evaluation keys of the preset ``encrypted``: uploaded in chunks, kept by client and digest, evicted by use.

Invariants:

- Keys belong to the certificate that uploaded them, not to a session: nobody else can name them, and they outlive the
  session.
- All keys and uploads together take at most `limit_bytes`; an upload is charged with its whole size when it begins, so
  what has begun can be finished. Keys are kept only if their digest is the one that was promised.
- A client has one upload in progress. Another one takes its place `RESTING_S` after its last chunk, and without any it
  is forgotten `ABANDONED_S` after that.
- Where room is needed, a client's own keys go first, then those of the client that has most; the least recently used
  of them, uploads that rest included. Keys that a tail computes with (`pin`) stay until it has finished.
"""

from __future__ import annotations

import hashlib
import mmap
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from securesplit.encrypted.messages import MAX_KEY_BYTES, ChunkAnswer, ChunkStatus, KeyChunk
from securesplit.worker.key_arena import KeyArena
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.observer import KeyStatus

RESTING_S = 12.0
"""Longer than a device needs to try a piece again over a new connection; other keys of it, which wait for room, have
waited less than half of a request's time then."""
ABANDONED_S = 60.0
"""So long has a user to begin again where a slow line took too long."""
_USUAL_BYTES = 32 << 20
"""There are as many places as keys of this size would fill; the shipped parameters' take 37 MB."""


@dataclass(slots=True, eq=False)
class StoredKey:
    """Evaluation keys of one device, whole or on their way.

    Attributes:
        owner: fingerprint of the certificate that they came under.
        digest: SHA-256 of the whole.
        total: bytes of the whole.
        place: in the arena.
        received: bytes that have come.
        touched: when the last chunk came, on the store's clock.
        pins: batches that are computed with them.
    """

    owner: str
    digest: bytes
    total: int
    place: int
    received: int = 0
    touched: float = 0.0
    pins: int = 0
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come, and is what was promised."""
        return self.received == self.total

    @property
    def charged(self) -> int:
        """Bytes of memory that it takes, or will take."""
        return _whole_pages(self.total)

    @property
    def offset(self) -> int:
        """Where it begins in the arena."""
        return self.place * MAX_KEY_BYTES

    def append(self, data: bytes) -> bool:
        """Count a piece; False where it was the last one and the digest is another one."""
        self.received += len(data)
        self._hash.update(data)
        return not self.is_whole or self._hash.digest() == self.digest


class KeyStore:
    """The keys of one front.

    Args:
        limit_bytes: of all keys together; at least `messages.MAX_KEY_BYTES`.
        clock: seconds, rising.
        counters: where uploads and evictions are counted.

    Attributes:
        arena: where the keys lie.

    Raises:
        OSError: the system has no room for the arena.
    """

    def __init__(self, limit_bytes: int, clock: Callable[[], float], counters: Counters) -> None:
        self._limit_bytes, self._clock, self._counters = limit_bytes, clock, counters
        places = max(1, limit_bytes // _USUAL_BYTES)
        self.arena = KeyArena(places)
        self._free = list(range(places))
        self._keys: OrderedDict[tuple[str, bytes], StoredKey] = OrderedDict()
        self._charged = 0

    @property
    def status(self) -> KeyStatus:
        """How full it is; from any thread."""
        held = sum(key.is_whole for key in list(self._keys.values()))
        return KeyStatus(held, self._charged, self._limit_bytes)

    def holds(self, owner: str, digest: bytes) -> bool:
        """Whether a client's keys can be computed with; counts as a use of them."""
        key = self._keys.get((owner, digest))
        if key is None or not key.is_whole:
            return False
        self._keys.move_to_end((owner, digest))
        return True

    def pin(self, owner: str, digest: bytes) -> StoredKey | None:
        """A client's keys, which stay where they are until `unpin`; None where they are not held."""
        if not self.holds(owner, digest):
            return None
        key = self._keys[owner, digest]
        key.pins += 1
        return key

    def unpin(self, key: StoredKey) -> None:
        """A batch has finished with these keys."""
        key.pins -= 1

    def add(self, owner: str, chunk: KeyChunk) -> ChunkAnswer:
        """Take a chunk of a client's keys."""
        key = self._keys.get((owner, chunk.digest))
        if key is None:
            return self._begin(owner, chunk)
        if chunk.total != key.total:
            return ChunkAnswer(ChunkStatus.REFUSED)
        if chunk.offset > key.received:
            return ChunkAnswer(ChunkStatus.RESTART, key.received)
        if chunk.end <= key.received:
            return ChunkAnswer(ChunkStatus.GO_ON, key.received)
        return self._append(key, chunk)

    def expire(self) -> None:
        """Forget uploads that were abandoned."""
        for key in [key for key in self._keys.values() if self._rests(key, ABANDONED_S)]:
            self._abandon(key)

    def close(self) -> None:
        """Forget everything."""
        self.arena.close()

    def _begin(self, owner: str, chunk: KeyChunk) -> ChunkAnswer:
        if chunk.total > MAX_KEY_BYTES or _whole_pages(chunk.total) > self._limit_bytes:
            self._counters.key_uploads["refused"] += 1
            return ChunkAnswer(ChunkStatus.REFUSED)
        if chunk.offset:
            return ChunkAnswer(ChunkStatus.RESTART)
        if self._is_uploading(owner) or not self._make_room(owner, _whole_pages(chunk.total)):
            return ChunkAnswer(ChunkStatus.NO_ROOM)
        key = StoredKey(owner, chunk.digest, chunk.total, self._free.pop())
        self._keys[owner, key.digest] = key
        self._charged += key.charged
        return self._append(key, chunk)

    def _is_uploading(self, owner: str) -> bool:
        """Whether a client has an upload in progress; one that rests is forgotten."""
        for key in [key for key in self._keys.values() if key.owner == owner and self._rests(key, RESTING_S)]:
            self._abandon(key)
        return any(key.owner == owner and not key.is_whole for key in self._keys.values())

    def _rests(self, key: StoredKey, seconds: float) -> bool:
        return not key.is_whole and self._clock() - key.touched > seconds

    def _can_go(self, key: StoredKey) -> bool:
        return not key.pins and (key.is_whole or self._rests(key, RESTING_S))

    def _abandon(self, key: StoredKey) -> None:
        self._drop(key)
        self._counters.key_uploads["abandoned"] += 1

    def _append(self, key: StoredKey, chunk: KeyChunk) -> ChunkAnswer:
        try:
            self.arena.write(key.place, chunk.offset, chunk.data)
        except OSError:
            self._drop(key)
            return ChunkAnswer(ChunkStatus.NO_ROOM)
        self._counters.key_bytes += len(chunk.data)
        key.touched = self._clock()
        if not key.append(chunk.data):
            self._drop(key)
            self._counters.key_uploads["refused"] += 1
            return ChunkAnswer(ChunkStatus.REFUSED)
        if key.is_whole:
            self._counters.key_uploads["done"] += 1
            self._keys.move_to_end((key.owner, key.digest))
        return ChunkAnswer(ChunkStatus.GO_ON, key.received)

    def _make_room(self, owner: str, size: int) -> bool:
        """Evict as much as an upload needs; nothing where that would not be enough."""
        staying = [key for key in self._keys.values() if not self._can_go(key)]
        if sum(key.charged for key in staying) + size > self._limit_bytes or len(staying) == len(self._keys) + len(
            self._free
        ):
            return False
        while self._charged + size > self._limit_bytes or not self._free:
            self._drop(self._next_to_go(owner))
            self._counters.key_evictions += 1
        return True

    def _next_to_go(self, owner: str) -> StoredKey:
        """The least recently used key of `owner`, else of the client that has most; some key must be able to go."""
        able = [key for key in self._keys.values() if self._can_go(key)]
        own = [key for key in able if key.owner == owner]
        if own:
            return own[0]
        held: Counter[str] = Counter()
        for key in able:
            held[key.owner] += key.charged
        most = max(held.values())
        return next(key for key in able if held[key.owner] == most)

    def _drop(self, key: StoredKey) -> None:
        del self._keys[key.owner, key.digest]
        self._charged -= key.charged
        self._free.append(key.place)
        self.arena.clear(key.place)


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
