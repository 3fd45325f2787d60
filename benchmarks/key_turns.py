"""Whose evaluation keys a full worker holds: ``python -m benchmarks.key_turns``.

The store of a front with places for 27 devices, two fewer than its default bound has, and keys of one page; only time
is simulated. Devices ask in turns, at random, some of them oftener, in bursts, or a second shift takes over from the
first. Beside it the least recently used, which the store evicted before, and the best that is possible for whoever
knows the future (Belady 1966). A request that does not find its keys is an upload of 27 MB.
"""

from __future__ import annotations

import hashlib
import mmap
from collections import Counter, OrderedDict
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np

from benchmarks.arguments import take_none
from benchmarks.table import show
from securesplit.encrypted.messages import KeyChunk
from securesplit.worker import key_store
from securesplit.worker.monitoring.counters import Counters

PLACES, REQUESTS, EVERY_S = 27, 20_000, 5.0


def main() -> None:
    """Print and save the table."""
    rows = []
    for name, asked in _workloads(np.random.default_rng(1)):
        misses = _store(asked)
        uploads = Counter(device for device, missed in zip(asked, misses, strict=True) if missed)
        shares = [uploads[device] / times for device, times in Counter(asked).items()]
        hits = [1.0 - sum(found) / len(asked) for found in (_least_recently_used(asked), misses, _best(asked))]
        rows.append([name, *(f"{100 * hit:.0f} %" for hit in hits), f"{100 * max(shares):.0f} %"])
    heads = ["devices", "held, by least recently used", "held, in the store", "at best", "uploads of the worst device"]
    show("key_turns", heads, rows)


def _workloads(rng: np.random.Generator) -> Iterator[tuple[str, list[int]]]:
    for devices in (28, 41, 54, 108):
        yield f"{devices} in turns", [n % devices for n in range(REQUESTS)]
    for devices in (28, 54):
        yield f"{devices} at random", rng.integers(devices, size=REQUESTS).tolist()
    oftener = 1.0 / np.arange(1, 109)
    yield "108, the n-th 1/n times as often", rng.choice(108, REQUESTS, p=oftener / oftener.sum()).tolist()
    yield "54 in turns, 5 photos each", [n // 5 % 54 for n in range(REQUESTS)]
    shift = REQUESTS // 4
    yield "4 shifts of 27", [27 * (n // shift) + int(rng.integers(27)) for n in range(REQUESTS)]


def _store(asked: list[int]) -> list[bool]:
    """For each request, whether the store did not hold its keys."""
    now, misses = [0.0], []
    with patch.object(key_store, "LEAST_KEY_BYTES", mmap.PAGESIZE):
        limit = PLACES * mmap.PAGESIZE
        store = key_store.KeyStore(limit, lambda: now[0], Counters(), np.random.default_rng(2).random)
        for device in asked:
            now[0] += EVERY_S
            data = device.to_bytes(mmap.PAGESIZE)
            owner, digest = str(device), hashlib.sha256(data).digest()
            misses.append(not store.holds(owner, digest))
            if misses[-1]:
                store.add(owner, KeyChunk(digest, 0, len(data), data))
            key = store.pin(owner, digest)
            assert key is not None, "a device was not answered"
            store.unpin(key)
        store.close()
    return misses


def _least_recently_used(asked: list[int]) -> list[bool]:
    held: OrderedDict[int, None] = OrderedDict()
    misses = []
    for device in asked:
        misses.append(device not in held)
        held[device] = None
        held.move_to_end(device)
        if len(held) > PLACES:
            held.popitem(last=False)
    return misses


def _best(asked: list[int]) -> list[bool]:
    """Evicting whoever asks again last; every request must find its keys at last, so they come in."""
    following = [0] * len(asked)
    after: dict[int, int] = {}
    for at in range(len(asked) - 1, -1, -1):
        following[at] = after.get(asked[at], len(asked))
        after[asked[at]] = at
    held: dict[int, int] = {}
    misses = []
    for at, device in enumerate(asked):
        misses.append(device not in held)
        if misses[-1] and len(held) == PLACES:
            del held[max(held, key=held.__getitem__)]
        held[device] = following[at]
    return misses


if __name__ == "__main__":
    take_none(__doc__)
    main()
