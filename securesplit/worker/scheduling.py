"""Whose turn it is: fair scheduling of whatever waits, and the bounded queue of jobs that is built on it.

Owners take turns, and the lanes of an owner take turns within the owner's turn. Of the owners that wait, the one whose
last turn is longest ago is next: neither many items nor many lanes give an owner more than its share, and one that asks
now and then waits for nobody who has just had a turn. The order within a lane stays.

Invariants of the queue, in which clients are the owners and sessions the lanes:

- At most `limit` jobs wait. A full queue takes from the client that has most, and of it from the session that has most:
  the latest job loses its place. So who has less than others always finds one, whatever the others do.
- They take at most `limit_bytes`. Over that, the client whose jobs take most loses its latest (`shed`).
- A job that was given back by a dead tail goes first and is never refused.
- A batch holds jobs of one preset and at most one that has already cost a tail, alone. The answers of a batch leave
  together; so while clients take turns it holds one job of each, and none of a client of whom more jobs wait than of
  the first one. A client that nobody shared the last turns with fills batches alone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from securesplit.worker.jobs import Job

Item = TypeVar("Item")
_REMEMBERED = 1_024  # owners that do not wait
_SHARED_TURNS = 128


class FairScheduler(Generic[Item]):
    """Items that wait, by owner and lane."""

    def __init__(self) -> None:
        self._owners: dict[str, OrderedDict[bytes, deque[Item]]] = {}
        self._last_turn: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._total = self._turn = 0
        self._latest, self._changed = "", -_SHARED_TURNS  # who had the latest turn, and the first after another's

    def __len__(self) -> int:
        return self._total

    def of(self, owner: str) -> int:
        """How many items of an owner wait."""
        return self._waiting.get(owner, 0)

    @property
    def is_shared(self) -> bool:
        """Whether the last `_SHARED_TURNS` turns were not all of one owner."""
        return self._turn - self._changed < _SHARED_TURNS

    def put(self, owner: str, lane: bytes, item: Item) -> None:
        """Let an item wait, last in its lane."""
        lanes = self._owners.setdefault(owner, OrderedDict())
        lanes.setdefault(lane, deque()).append(item)
        self._count(owner, 1)

    def peek(self) -> Item | None:
        """The item whose turn it is; None where nothing waits."""
        if not self._owners:
            return None
        lanes = self._owners[self._next()]
        return next(iter(lanes.values()))[0]

    def take(self) -> Item:
        """Remove and return the item whose turn it is; something must wait."""
        owner = self._next()
        lanes = self._owners[owner]
        lane, items = next(iter(lanes.items()))
        item = items.popleft()
        lanes.move_to_end(lane)
        self._had_turn(owner)
        self._removed(owner, lane, 1)
        return item

    def most(self) -> str:
        """The owner of whom most waits; something must wait."""
        return max(self._waiting, key=lambda owner: self._waiting[owner])

    def take_latest(self, owner: str) -> Item:
        """Remove and return the last item of the longest lane of an owner of whom something waits."""
        lanes = self._owners[owner]
        lane = max(reversed(lanes), key=lambda name: len(lanes[name]))
        item = lanes[lane].pop()
        self._removed(owner, lane, 1)
        return item

    def remove_where(self, is_over: Callable[[Item], bool]) -> list[Item]:
        """Remove and return the items that a condition holds for."""
        removed = []
        for owner, lanes in list(self._owners.items()):
            for lane, items in list(lanes.items()):
                if over := [item for item in items if is_over(item)]:
                    removed += over
                    lanes[lane] = deque(item for item in items if not is_over(item))
                    self._removed(owner, lane, len(over))
        return removed

    def _removed(self, owner: str, lane: bytes, items: int) -> None:
        """So many items have left a lane; lanes and owners of whom nothing waits are forgotten."""
        lanes = self._owners[owner]
        if not lanes[lane]:
            del lanes[lane]
        if not lanes:
            del self._owners[owner]
        self._count(owner, -items)

    def _next(self) -> str:
        return min(self._owners, key=lambda owner: self._last_turn.get(owner, 0))

    def _had_turn(self, owner: str) -> None:
        self._turn += 1
        if owner != self._latest:
            self._changed, self._latest = self._turn if self._latest else self._changed, owner
        self._last_turn[owner] = self._turn
        if len(self._last_turn) > _REMEMBERED + len(self._owners):
            self._last_turn = {name: turn for name, turn in self._last_turn.items() if name in self._owners}

    def _count(self, owner: str, more: int) -> None:
        self._total += more
        self._waiting[owner] = self._waiting.get(owner, 0) + more
        if not self._waiting[owner]:
            del self._waiting[owner]


class FairQueue:
    """Jobs by client and session.

    Args:
        limit: jobs that may wait.
        limit_bytes: of their releases.
    """

    def __init__(self, limit: int, limit_bytes: int = 64 << 20) -> None:
        self._limit, self._limit_bytes = limit, limit_bytes
        self._held: Counter[str] = Counter()
        self._turns: FairScheduler[Job] = FairScheduler()
        self._returned: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._turns) + len(self._returned)

    def put(self, job: Job) -> Job | None:
        """Let a new job wait; returns the one that has no place: another one, `job` itself, or none."""
        lost = None
        if len(self) >= self._limit:
            if not len(self._turns) or self._turns.of(job.client) >= self._turns.of(most := self._turns.most()):
                return job
            lost = self._taken(self._turns.take_latest(most))
        self._turns.put(job.client, job.key[0], job)
        self._held[job.client] += job.nbytes
        return lost

    def shed(self) -> Job | None:
        """Remove and return a job where those that wait take too much memory; None where they do not."""
        if self._held.total() <= self._limit_bytes:
            return None
        return self._taken(self._turns.take_latest(max(self._held, key=self._held.__getitem__)))

    def give_back(self, job: Job) -> None:
        """Let a job wait whose tail died; it goes first."""
        self._returned.append(job)

    def take(self, most: int, affordable: Callable[[str], int] | None = None) -> list[Job]:
        """The next batch, 0 to `most` jobs of one preset, and no more than are `affordable` of that preset."""
        if self._returned:
            return [self._returned.popleft()]
        batch: list[Job] = []
        while len(batch) < most and (job := self._turns.peek()) is not None:
            if not batch and affordable is not None:
                most = min(most, affordable(job.preset))
            if batch and not self._fits(job, batch):
                break
            batch.append(self._taken(self._turns.take()))
        return batch

    def _fits(self, job: Job, batch: list[Job]) -> bool:
        """Whether the job whose turn it is may join those that have had theirs."""
        if job.preset != batch[0].preset:
            return False
        if not self._turns.is_shared:
            return True
        is_new = all(job.client != other.client for other in batch)
        return is_new and self._turns.of(job.client) <= self._turns.of(batch[0].client) + 1  # the one that was taken

    def take_all(self) -> list[Job]:
        """Remove and return every job."""
        return self._remove_where(lambda _job: True)

    def drop_expired(self, now: float) -> list[Job]:
        """Remove and return the jobs that nobody waits for any more."""
        return self._remove_where(lambda job: job.expires_at <= now)

    def _remove_where(self, is_over: Callable[[Job], bool]) -> list[Job]:
        removed = [job for job in self._returned if is_over(job)]
        self._returned = deque(job for job in self._returned if not is_over(job))
        return removed + [self._taken(job) for job in self._turns.remove_where(is_over)]

    def _taken(self, job: Job) -> Job:
        """A job that waits no more."""
        self._held[job.client] -= job.nbytes
        if not self._held[job.client]:
            del self._held[job.client]
        return job
