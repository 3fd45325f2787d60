"""What a front counts about its work: plain numbers in memory, shown by ``prometheus.py``.

Invariants:

- One thread writes, the front's; another may read at any time and sees each number whole, though two of them a moment
  apart. There is no lock, and nothing here blocks or allocates much: about 2 µs a request.
- A word is counted from 0 on: of a series that begins at 1 Prometheus sees no increase.
- Nothing here depends on a photo, a release or an answer, and nothing is kept by client: times, sizes of batches and
  counts by a fixed set of words.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from securesplit.channel.server import REFUSALS
from securesplit.channel.sessions import Ended
from securesplit.transport.peers import DROPS

STAGES = ("queue", "tail", "worker")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES = (1, 2, 3, 4, 6, 8, 16, 32)


class Histogram:
    """Counts of observations by upper bound.

    Args:
        bounds: rising; what is above the last one is counted as well.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counters:
    """The numbers of one front since it started.

    Attributes:
        stages: seconds of computed requests: waiting for a tail, in the tail (its share of the batch), in the worker.
        batch: requests in a batch.
        requests: ends of accepted requests: ``done``, ``poison``, ``expired``; of ciphertexts also ``key_needed``,
            ``refused``.
        repeated: retries that were answered from memory or joined to the request that is computed.
        turned_away: requests of open sessions that were not accepted, by reason.
        refused: frames that were refused, by the channel's reason.
        opened: sessions.
        ended: sessions, by reason.
        tail_starts: processes.
        tail_deaths: processes, by what they did: ``died``, ``hung``.
        reloads: of the certificates: ``done``, ``failed``.
        last_reload_failed: the files of the last one cannot be used, and those before it stay.
        encrypted: requests of the preset ``encrypted``: ``answered``, ``key_needed``, ``refused``.
        key_uploads: of evaluation keys: ``done``, ``refused``, ``abandoned``.
        key_bytes: of evaluation keys that were received and kept.
        key_evictions: evaluation keys that made room for others.
        key_returns: uploads of evaluation keys that had made room before.
        key_waits: times that a client was told to come back, since there was no room for its evaluation keys.
        connection_drops: times that all connections were dropped to save descriptors or memory.
        busy_s: seconds that the front's loop worked, all else it waited.
        turned_at: when the loop last came round, by the front's clock.
    """

    def __init__(self) -> None:
        self.stages = {stage: Histogram(SECONDS) for stage in STAGES}
        self.batch = Histogram(BATCHES)
        self.requests: Counter[str] = Counter(done=0, poison=0, expired=0, key_needed=0, refused=0)
        self.repeated = 0
        self.turned_away: Counter[str] = Counter(
            dict.fromkeys(
                ("session-limit", "client-limit", "ignored", "queue-full", "draining", "bad-release", "preset"), 0
            )
        )
        self.refused: Counter[str] = Counter(dict.fromkeys((*REFUSALS, *DROPS, "draining", "handshake-crowd"), 0))
        self.opened = 0
        self.ended: Counter[str] = Counter({why.value: 0 for why in Ended})
        self.tail_starts = 0
        self.tail_deaths: Counter[str] = Counter(died=0, hung=0)
        self.reloads: Counter[str] = Counter(done=0, failed=0)
        self.last_reload_failed = False
        self.encrypted: Counter[str] = Counter(answered=0, key_needed=0, refused=0)
        self.key_uploads: Counter[str] = Counter(done=0, refused=0, abandoned=0)
        self.key_bytes = 0
        self.key_evictions = 0
        self.key_returns = 0
        self.key_waits = 0
        self.connection_drops = 0
        self.busy_s = 0.0
        self.turned_at = 0.0

    def computed(self, queue_s: float, tail_s: float, worker_s: float) -> None:
        """Note the times of a request that was computed."""
        self.stages["queue"].observe(queue_s)
        self.stages["tail"].observe(tail_s)
        self.stages["worker"].observe(worker_s)

    def turned(self, since: float, now: float) -> None:
        """Note that the loop has worked from `since` until `now`."""
        self.busy_s += now - since
        self.turned_at = now
