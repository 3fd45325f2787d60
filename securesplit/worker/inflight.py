"""Requests that are being computed, and the last answers: a retry is answered without computing twice.

Both tables live in memory only, and are keyed by session and request id, so no client can reach another's answer. The
answers are small (about 50 bytes; 78 kB where they are ciphertexts) and bounded in number, in size and in age.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TypeVar

from securesplit.worker.jobs import Job, JobKey

_Key = TypeVar("_Key", bytes, str)
_ANSWERS = 4_096
_ANSWERS_BYTES = 32 << 20
_ANSWER_AGE_S = 60.0


class InFlight:
    """The jobs of a front by key, and how many each session and each client has."""

    def __init__(self) -> None:
        self._jobs: dict[JobKey, Job] = {}
        self._per_session: Counter[bytes] = Counter()
        self._per_client: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self, key: JobKey) -> Job | None:
        """The job of this request, if it is being computed."""
        return self._jobs.get(key)

    def of_session(self, session: bytes) -> int:
        """How many jobs of this session are being computed."""
        return self._per_session[session]

    def of_client(self, client: str) -> int:
        """How many jobs of this client are being computed, also of sessions that have ended."""
        return self._per_client[client]

    def add(self, job: Job) -> None:
        """Remember a job."""
        self._jobs[job.key] = job
        self._per_session[job.key[0]] += 1
        self._per_client[job.client] += 1

    def remove(self, job: Job) -> None:
        """Forget a job that has ended."""
        del self._jobs[job.key]
        _less(self._per_session, job.key[0])
        _less(self._per_client, job.client)


def _less(counts: Counter[_Key], key: _Key) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


class Answers:
    """The last answers."""

    def __init__(self) -> None:
        self._answers: OrderedDict[JobKey, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """What the answers take."""
        return self._bytes

    def find(self, key: JobKey) -> bytes | None:
        """The plaintext of the answer (empty: it cannot be computed), if it was given lately."""
        found = self._answers.get(key)
        return None if found is None else found[1]

    def add(self, key: JobKey, plaintext: bytes, now: float) -> None:
        """Remember an answer, and make room for it."""
        self._forget(key)
        self._answers[key] = (now, plaintext)
        self._bytes += len(plaintext)
        self.expire(now)

    def expire(self, now: float) -> None:
        """Forget those that are old or too many; about once a second."""
        while self._answers:
            oldest = next(iter(self._answers))
            is_within = len(self._answers) <= _ANSWERS and self._bytes <= _ANSWERS_BYTES
            if is_within and now - self._answers[oldest][0] <= _ANSWER_AGE_S:
                return
            self._forget(oldest)

    def _forget(self, key: JobKey) -> None:
        if (found := self._answers.pop(key, None)) is not None:
            self._bytes -= len(found[1])
