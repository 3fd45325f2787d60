"""What waits for a tail: bounded, and fair.

Invariants:

- Clients take turns; the sessions of one client take turns within that client's turn. So neither many requests nor many
  sessions give anyone more than its share.
- At most `limit` jobs wait. A full queue takes from the client that has most, and of it from the session that has most:
  the latest job loses its place. So who has less than others always finds one, whatever the others do.
- A job that was given back by a dead tail goes first and is never refused.
- A batch holds jobs of one preset and at most one that has already cost a tail, alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from securesplit.worker.jobs import Job
from securesplit.worker.scheduling import Turns


class FairQueue:
    """Jobs by client and session.

    Args:
        limit: jobs that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._turns: Turns[Job] = Turns()
        self._returned: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._turns) + len(self._returned)

    def put(self, job: Job) -> Job | None:
        """Let a new job wait; returns the one that has no place: another one, `job` itself, or none."""
        lost = None
        if len(self) >= self._limit:
            if not len(self._turns) or self._turns.of(job.client) >= self._turns.of(most := self._turns.most()):
                return job
            lost = self._turns.take_latest(most)
        self._turns.put(job.client, job.key[0], job)
        return lost

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
            if batch and job.preset != batch[0].preset:
                break
            batch.append(self._turns.take())
        return batch

    def take_all(self) -> list[Job]:
        """Remove and return every job."""
        return self._remove_where(lambda _job: True)

    def drop_expired(self, now: float) -> list[Job]:
        """Remove and return the jobs that nobody waits for any more."""
        return self._remove_where(lambda job: job.expires_at <= now)

    def _remove_where(self, is_over: Callable[[Job], bool]) -> list[Job]:
        removed = [job for job in self._returned if is_over(job)]
        self._returned = deque(job for job in self._returned if not is_over(job))
        return removed + self._turns.remove_where(is_over)
