"""What waits for a tail: bounded, and fair.

Invariants:

- Clients take turns; the sessions of one client take turns within that client's turn. So neither many requests nor many
  sessions give anyone more than its share.
- At most `limit` jobs wait. A job that was given back by a dead tail goes first and is never refused.
- A batch holds jobs of one preset and at most one that has already cost a tail, alone.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable

from securesplit.worker.jobs import Job


class FairQueue:
    """Jobs by client and session.

    Args:
        limit: jobs that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clients: OrderedDict[str, OrderedDict[bytes, deque[Job]]] = OrderedDict()
        self._returned: deque[Job] = deque()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting + len(self._returned)

    def put(self, job: Job) -> bool:
        """Let a new job wait; False where the queue is full."""
        if len(self) >= self._limit:
            return False
        sessions = self._clients.setdefault(job.client, OrderedDict())
        sessions.setdefault(job.key[0], deque()).append(job)
        self._waiting += 1
        return True

    def give_back(self, job: Job) -> None:
        """Let a job wait whose tail died; it goes first."""
        self._returned.append(job)

    def take(self, most: int, affordable: Callable[[str], int] | None = None) -> list[Job]:
        """The next batch, 0 to `most` jobs of one preset, and no more than are `affordable` of that preset."""
        if self._returned:
            return [self._returned.popleft()]
        batch: list[Job] = []
        while len(batch) < most:
            job = self._next(batch[0].preset if batch else None)
            if job is None:
                break
            if not batch and affordable is not None:
                most = min(most, affordable(job.preset))
            batch.append(job)
        return batch

    def _next(self, preset: str | None) -> Job | None:
        """Take the job whose turn it is, unless it is of another preset."""
        if not self._clients:
            return None
        client, sessions = next(iter(self._clients.items()))
        session, jobs = next(iter(sessions.items()))
        if preset is not None and jobs[0].preset != preset:
            return None
        job = jobs.popleft()
        self._waiting -= 1
        sessions.move_to_end(session)
        self._clients.move_to_end(client)
        if not jobs:
            del sessions[session]
        if not sessions:
            del self._clients[client]
        return job

    def take_all(self) -> list[Job]:
        """Remove and return every job."""
        return self.drop_expired(math.inf)

    def drop_expired(self, now: float) -> list[Job]:
        """Remove and return the jobs that nobody waits for any more."""
        dropped = [job for job in self._returned if job.expires_at <= now]
        self._returned = deque(job for job in self._returned if job.expires_at > now)
        for client in list(self._clients):
            sessions = self._clients[client]
            for session in list(sessions):
                jobs = sessions[session]
                dropped += [job for job in jobs if job.expires_at <= now]
                sessions[session] = deque(job for job in jobs if job.expires_at > now)
                if not sessions[session]:
                    del sessions[session]
            if not sessions:
                del self._clients[client]
        self._waiting = sum(len(jobs) for sessions in self._clients.values() for jobs in sessions.values())
        return dropped
