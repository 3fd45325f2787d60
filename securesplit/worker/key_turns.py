"""Whose evaluation keys stay where more devices ask than there is room for.

To evict the least recently used fails where devices take turns: with one device more than there are places, each finds
its keys gone, and every request uploads 27 MB. Here keys that come into a full store are *guests*, the first to go, so
that the others, the *residents*, stay and are found. A guest is a resident from the start if the resident that would
have to go was idle for longer than the guest was away (a device that is new counts as away for `NEW_S`), and one in
`ROTATION` is in any case, so that no device is a guest for ever.

After bimodal insertion (Qureshi et al., "Adaptive insertion policies for high performance caching", ISCA 2007) and
LIRS, which compares how long pages stay unused (Jiang, Zhang, SIGMETRICS 2002). ``python -m benchmarks.key_turns``
compares it with the least recently used and with what is possible.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

NEW_S = 3_600.0
"""A device whose keys were never here takes the place of one that asked for nothing for so long."""
ROTATION = 8
_REMEMBERED = 4_096  # keys
_RECENTLY_S = 3_600.0

KeyName: TypeAlias = tuple[str, bytes]
"""The owner's public key (its SHA-256, hex), and digest."""


class EvictedKeys:
    """Keys that had to make room: when they were last used, and how large they were.

    Args:
        clock: seconds, rising.
        random_fraction: gives numbers evenly from [0, 1).
    """

    def __init__(self, clock: Callable[[], float], random_fraction: Callable[[], float]) -> None:
        self._clock, self._random = clock, random_fraction
        self._used: OrderedDict[KeyName, tuple[float, int]] = OrderedDict()

    def add(self, name: KeyName, used: float, size: int) -> None:
        """Keys of `size` bytes, last used at `used`, make room."""
        self._used[name] = used, size
        if len(self._used) > _REMEMBERED:
            self._used.popitem(last=False)

    def is_resident(self, name: KeyName, idle_s: float) -> bool:
        """Whether these keys, which come now, should stay rather than a resident that was idle for so long."""
        used = self._used.get(name)
        away_s = NEW_S if used is None else self._clock() - used[0]
        return idle_s > away_s or self._random() * ROTATION < 1.0

    def returned(self, name: KeyName) -> bool:
        """Whether these keys, which are here again, had to make room before; they are forgotten here."""
        return self._used.pop(name, None) is not None

    @property
    def recent_bytes(self) -> int:
        """What those take that were used within the last hour; from any thread."""
        since = self._clock() - _RECENTLY_S
        return sum(size for used, size in list(self._used.values()) if used >= since)


class LoadedKeys:
    """Which keys a tail has loaded, by the same rule, with requests in place of seconds.

    The front and the tail count alike, each by itself, since both see the same requests in the same order.

    Args:
        places: how many may be loaded.
    """

    def __init__(self, places: int) -> None:
        self._places, self._uses = places, 0
        self._used: OrderedDict[bytes, int] = OrderedDict()
        self._guest: bytes | None = None
        self._evicted = EvictedKeys(lambda: float(self._uses), random.Random(places).random)  # noqa: S311 - no secret

    def __contains__(self, digest: object) -> bool:
        return digest in self._used

    def use(self, digest: bytes) -> bytes | None:
        """A request is computed with these keys; returns those that make room for them, if any must."""
        self._uses += 1
        gone = None
        if digest not in self._used and len(self._used) == self._places:
            gone = self._make_room(digest)
        self._used[digest] = self._uses
        self._used.move_to_end(digest)
        return gone

    def _make_room(self, digest: bytes) -> bytes:
        gone = next(key for key in self._used if key != self._guest)
        if not self._evicted.is_resident(("", digest), self._uses - self._used[gone]):
            gone, self._guest = self._guest or gone, digest
        self._evicted.returned(("", digest))
        self._evicted.add(("", gone), self._used.pop(gone), 0)
        return gone
