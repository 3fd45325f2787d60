"""What a client has asked for, on its way through queue and pool."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from securesplit.encrypted.messages import Request

JobKey: TypeAlias = tuple[bytes, int]
"""Session id and request id: the same on every retry of a request."""


@dataclass(slots=True, eq=False)
class Job:
    """One request of one client.

    Attributes:
        key: session and request id.
        client: who asks; clients take turns, and sessions of one client take turns within.
        preset: name of the preset that `release` belongs to.
        release: the preset's shape, integers; of the preset ``encrypted`` a ciphertext, with its keys' name.
        expires_at: on the front's clock; nobody waits for the answer any more.
        route: the envelope of the client's latest message.
        owner: SHA-256 of the device's public key, by which the keys that a ciphertext is computed with are kept.
        deaths: tails that died or hung while they had this job.
        received: when its message had its turn, on the front's clock.
        since: when it was accepted, on the same clock.
        taken: when a tail last got it, on the same clock.
    """

    key: JobKey
    client: str
    preset: str
    release: NDArray[Any] | Request
    expires_at: float
    route: tuple[bytes, ...] = ()
    owner: str = ""
    deaths: int = 0
    received: float = 0.0
    since: float = 0.0
    taken: float = 0.0

    @property
    def nbytes(self) -> int:
        """What it takes of the front's memory while it waits, nearly."""
        return len(self.release.ciphertext) if isinstance(self.release, Request) else self.release.nbytes


class JobStatus(enum.Enum):
    """How a job ended; of the last two, which ciphertexts alone come to, the client is told."""

    DONE = enum.auto()
    POISON = enum.auto()
    EXPIRED = enum.auto()
    KEY_NEEDED = enum.auto()
    REFUSED = enum.auto()


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended, and its answer.

    Attributes:
        job: the job.
        status: how it ended.
        logit: of malignant, where done.
        tail_ms: what the tail took for it, in milliseconds (its share of the batch).
        ciphertext: the encrypted answer, where done, of a ciphertext.
    """

    job: Job
    status: JobStatus
    logit: float = 0.0
    tail_ms: float = 0.0
    ciphertext: bytes = b""
