"""Evaluation keys of the preset ``encrypted``: uploaded in chunks, kept by device and digest, evicted by use.

Invariants:

- Keys belong to the public key of the certificate that they came under, not to a session: who cannot prove to have its
  private key cannot name them, and they outlive session and certificate.
- Keys whose owner's last certificate is no longer allowed go when the front learns it, or as soon as no tail computes
  with them.
- All keys and uploads together take at most `limit_bytes`; an upload is charged with its whole size when it begins, so
  what has begun can be finished. Keys are kept only if their digest is the one that was promised, and their size one
  that keys can have: so nobody takes many places, or a tail's time to load them, for a few bytes.
- A client has one upload in progress. Another one takes its place `RESTING_S` after its last chunk, and without any it
  is forgotten `ABANDONED_S` after that.
- Where room is needed, a client's own keys go first, then those of the client that has most; which of them, says
  ``key_turns.py``. Uploads that rest may go too. Keys that a tail computes with (`pin`) stay until it has finished, and
  so does the last upload of each client until it was computed with, or was not asked for within `RESTING_S`: what was
  uploaded serves one request at least.
- Uploads take at most half of the places of others' keys at a time, and those who wait begin in the order in which they
  came (``upload_queue.py``).
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import random
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from securesplit.channel.trust import ShownCertificate
from securesplit.encrypted.messages import LEAST_KEY_BYTES, MAX_KEY_BYTES, ChunkAnswer, ChunkStatus, KeyChunk
from securesplit.text import log_counted
from securesplit.worker.key_arena import KeyArena
from securesplit.worker.key_turns import EvictedKeys
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.log_throttle import LogThrottle
from securesplit.worker.monitoring.observer import KeyStatus
from securesplit.worker.upload_queue import UploadQueue

RESTING_S = 12.0
"""Longer than a device needs to try a piece again over a new connection; other keys of it, which wait for room, have
waited less than half of a request's time then."""
ABANDONED_S = 60.0
"""So long has a user to begin again where a slow line took too long."""
_WARN_EVERY_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class StoredKey:
    """Evaluation keys of one device, whole or on their way.

    Attributes:
        owner: SHA-256 of the device's public key (`ShownCertificate.key`).
        digest: SHA-256 of the whole.
        total: bytes of the whole.
        place: in the arena.
        upload: which upload of the store's it is; later ones have larger numbers.
        received: bytes that have come.
        began: when the first chunk came, on the store's clock.
        touched: when the last chunk came, or the last request.
        pins: batches that are computed with them.
        is_guest: the first to go (``key_turns.py``).
        has_served: a request was computed with them.
        is_revoked: its owner's certificate is no longer allowed; it goes once no tail computes with it.
    """

    owner: str
    digest: bytes
    total: int
    place: int
    upload: int = 0
    began: float = 0.0
    received: int = 0
    touched: float = 0.0
    pins: int = 0
    is_guest: bool = False
    has_served: bool = False
    is_revoked: bool = False
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
        random_fraction: gives numbers evenly from [0, 1).

    Attributes:
        arena: where the keys lie.

    Raises:
        OSError: the system has no room for the arena.
    """

    def __init__(
        self,
        limit_bytes: int,
        clock: Callable[[], float],
        counters: Counters,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self._limit_bytes, self._clock, self._counters = limit_bytes, clock, counters
        places = max(1, limit_bytes // LEAST_KEY_BYTES)
        self.arena = KeyArena(places)
        self._free = list(range(places))
        self._keys: OrderedDict[tuple[str, bytes], StoredKey] = OrderedDict()
        self._certificates: dict[str, ShownCertificate] = {}
        self._charged = self._uploads = 0
        self._evicted, self._queue = EvictedKeys(clock, random_fraction), UploadQueue(clock)
        self._warnings, self._warned_of = LogThrottle(clock, _WARN_EVERY_S), 0

    @property
    def status(self) -> KeyStatus:
        """How full it is; from any thread."""
        held = sum(key.is_whole for key in list(self._keys.values()))
        wanted = self._charged + self._evicted.recent_bytes
        return KeyStatus(held, self._charged, self._limit_bytes, wanted, len(self._queue))

    def shown(self, certificate: ShownCertificate) -> None:
        """A client came under this certificate; `keep` judges its keys by the last one."""
        self._certificates[certificate.key] = certificate

    def holds(self, owner: str, digest: bytes) -> bool:
        """Whether a client's keys can be computed with; counts as a use of them."""
        key = self._keys.get((owner, digest))
        if key is None or not key.is_whole or key.is_revoked:
            return False
        self._keys.move_to_end((owner, digest))
        key.touched = self._clock()
        return True

    def pin(self, owner: str, digest: bytes) -> StoredKey | None:
        """A client's keys, which stay where they are until `unpin`; None where they are not held."""
        if not self.holds(owner, digest):
            return None
        key = self._keys[owner, digest]
        key.pins += 1
        return key

    def unpin(self, key: StoredKey, *, has_served: bool = True) -> None:
        """A batch no longer needs these keys.

        Args:
            key: as `pin` gave it.
            has_served: False where its tail died, so that it is computed again.
        """
        key.pins -= 1
        key.has_served |= has_served
        if key.is_revoked and not key.pins:
            self._drop(key)

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
        """Forget uploads that were abandoned, and warn where devices push each other's keys out; once a second."""
        for key in [key for key in self._keys.values() if self._rests(key, ABANDONED_S)]:
            self._abandon(key)
        self._warn()

    def keep(self, is_allowed: Callable[[ShownCertificate], bool]) -> None:
        """Forget the keys of devices whose last certificate is not allowed; those in use, when they no longer are."""
        for key in list(self._keys.values()):
            shown = self._certificates.get(key.owner)
            key.is_revoked = shown is None or not is_allowed(shown)
            if key.is_revoked and not key.pins:
                self._drop(key)
        owners = {key.owner for key in self._keys.values()}
        self._certificates = {owner: shown for owner, shown in self._certificates.items() if owner in owners}

    def close(self) -> None:
        """Forget everything."""
        self.arena.close()

    def _begin(self, owner: str, chunk: KeyChunk) -> ChunkAnswer:
        size = _whole_pages(chunk.total)
        if not LEAST_KEY_BYTES <= chunk.total <= MAX_KEY_BYTES or size > self._limit_bytes:
            self._counters.key_uploads["refused"] += 1
            return ChunkAnswer(ChunkStatus.REFUSED)
        if chunk.offset:
            return ChunkAnswer(ChunkStatus.RESTART)
        if self._is_uploading(owner) or not self._queue.is_next(owner, self._room(owner, size)):
            self._counters.key_waits += 1
            return ChunkAnswer(ChunkStatus.NO_ROOM, self._queue.wait_ms(owner, self._most_uploads(size)))
        is_guest = self._make_room(owner, chunk.digest, size)
        self._counters.key_returns += self._evicted.returned((owner, chunk.digest))
        self._uploads += 1
        place, now = self._free.pop(), self._clock()
        key = StoredKey(owner, chunk.digest, chunk.total, place, self._uploads, now, is_guest=is_guest)
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

    def _can_go(self, key: StoredKey, owner: str) -> bool:
        """Whether a key may make room for one of `owner`."""
        if key.pins:
            return False
        if not key.is_whole:
            return self._rests(key, RESTING_S)
        is_free = key.owner == owner or key.has_served or self._clock() - key.touched > RESTING_S
        return is_free or not self._is_last(key)

    def _is_last(self, key: StoredKey) -> bool:
        """Whether a key is its owner's last upload; one that came to nothing, as on a full machine, does not count."""
        return all(other.upload <= key.upload for other in self._keys.values() if other.owner == key.owner)

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
            self._queue.ended(key.touched - key.began)
            self._counters.key_uploads["done"] += 1
            self._keys.move_to_end((key.owner, key.digest))
        return ChunkAnswer(ChunkStatus.GO_ON, key.received)

    def _most_uploads(self, size: int) -> int:
        """So many clients may upload at once into places of others' keys."""
        return max(1, self._limit_bytes // size // 2)

    def _room(self, owner: str, size: int) -> int:
        """How many uploads of this size could begin now."""
        staying = [key for key in self._keys.values() if not self._can_go(key, owner)]
        uploading = sum(not key.is_whole for key in staying)
        left = self._limit_bytes - sum(key.charged for key in staying)
        most = min(left // size, len(self._keys) + len(self._free) - len(staying))
        return min(most, max(self._unused(size), self._most_uploads(size) - uploading))

    def _unused(self, size: int) -> int:
        """How many keys of this size would fit in beside those that are here."""
        return min((self._limit_bytes - self._charged) // size, len(self._free))

    def _make_room(self, owner: str, digest: bytes, size: int) -> bool:
        """Evict as much as an upload needs, which must be there; whether its keys are a guest."""
        is_guest = False
        while not self._unused(size):
            able = self._next_to_go(owner)
            guests, residents = ([key for key in able if key.is_guest is guest] for guest in (True, False))
            if able[0].owner == owner:
                gone, is_guest = able[0], able[0].is_guest
            elif residents and self._evicted.is_resident((owner, digest), self._clock() - residents[0].touched):
                gone = residents[0]
            else:
                gone, is_guest = (guests or residents)[0], True
            self._evict(gone)
        return is_guest

    def _next_to_go(self, owner: str) -> list[StoredKey]:
        """The keys of `owner` that can go, else those of the clients that have most; the least recently used first."""
        able = [key for key in self._keys.values() if self._can_go(key, owner)]
        own = [key for key in able if key.owner == owner]
        if own:
            return own
        held: Counter[str] = Counter()
        for key in able:
            held[key.owner] += key.charged
        most = max(held.values())
        return [key for key in able if held[key.owner] == most]

    def _evict(self, key: StoredKey) -> None:
        if key.is_whole:
            self._evicted.add((key.owner, key.digest), key.touched, key.charged)
        self._drop(key)
        self._counters.key_evictions += 1

    def _warn(self) -> None:
        """Say so where keys came back that had made room, at most once a minute."""
        if self._counters.key_returns == self._warned_of or not self._warnings.is_due():
            return
        times, wanted = self._counters.key_returns - self._warned_of, self.status.wanted_bytes
        self._warned_of = self._counters.key_returns
        what = {"times": times, "held": len(self._keys), "mib": -(-wanted >> 20)}
        uploads, devices = log_counted("times", times, "upload"), log_counted("held", len(self._keys), "device")
        text = (
            f"{uploads} brought evaluation keys again that had made room for others; there is room for those of"
            f" {devices}, and --evaluation-key-memory %(mib)d would hold all of the last hour"
        )
        _log.warning(text, what, extra={"event": "evaluation-keys-crowded"})

    def _drop(self, key: StoredKey) -> None:
        del self._keys[key.owner, key.digest]
        self._charged -= key.charged
        self._free.append(key.place)
        self.arena.clear(key.place)


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
