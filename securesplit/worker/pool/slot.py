"""One place in the pool, and the life of the tail that has it.

::

    STARTING -ready-> IDLE -batch-> BUSY -answer-> IDLE
    STARTING, IDLE, BUSY -exit-> BACKOFF -pause is over-> STARTING

The pause is nil after a tail that has answered at least once, and doubles with every tail in a row that has not.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from securesplit.errors import SecureSplitError
from securesplit.transport.retry import doubled_s
from securesplit.worker.encrypted_engine import LOADED_KEYS
from securesplit.worker.ipc import messages
from securesplit.worker.ipc.messages import Report
from securesplit.worker.jobs import Job
from securesplit.worker.key_store import StoredKey
from securesplit.worker.key_turns import LoadedKeys
from securesplit.worker.pool.tails import Tail


class SlotState(enum.Enum):
    """What the tail of a slot does; each value is its label in metrics and log."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    BACKOFF = "resting"


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one tail.

    Attributes:
        core: where its tails run; None: anywhere.
        state: what its tail does.
        tail: the tail; None while it backs off.
        until: when the state must have ended (starting, busy) or ends (back-off), on the pool's clock.
        batch: the jobs that the tail computes.
        number: of that batch.
        failed_starts: tails in a row that died without an answer.
        start_error: why the latest tail cannot start, if it could tell.
        key: evaluation keys that the tail computes with.
        loaded: which keys the tail has loaded.
    """

    core: int | None = None
    state: SlotState = SlotState.BACKOFF
    tail: Tail | None = None
    until: float = 0.0
    batch: list[Job] = field(default_factory=list)
    number: int = -1
    failed_starts: int = 0
    start_error: SecureSplitError | None = None
    key: StoredKey | None = None
    loaded: LoadedKeys = field(default_factory=lambda: LoadedKeys(LOADED_KEYS))

    def started(self, tail: Tail, until: float) -> None:
        """A tail was started; it must be ready by `until`."""
        self.state, self.tail, self.until = SlotState.STARTING, tail, until
        self.start_error = None
        self.loaded = LoadedKeys(LOADED_KEYS)

    def ready(self) -> None:
        """The tail can compute."""
        self.state = SlotState.IDLE

    def busy(self, batch: list[Job], number: int, until: float) -> None:
        """The tail has got a batch; it must answer by `until`."""
        self.state, self.batch, self.number, self.until = SlotState.BUSY, batch, number, until

    def uses(self, key: StoredKey) -> None:
        """The tail computes with these keys, which are pinned meanwhile."""
        self.key = key
        self.loaded.use(key.digest)

    def is_answered_by(self, report: Report) -> bool:
        """Whether a report is an answer to this batch: numbers to releases, a ciphertext to a ciphertext."""
        if report.batch != self.number:
            return False
        if report.event == messages.DONE:
            return self.key is None and len(report.logits) == len(self.batch)
        return self.key is not None

    def finished(self) -> list[Job]:
        """The tail has answered; returns its batch."""
        done, self.batch = self.batch, []
        self.state, self.failed_starts = SlotState.IDLE, 0
        return done

    def died(self, first_pause_s: float, cap_s: float) -> float:
        """The tail is gone; returns how long to back off before the next one, in seconds."""
        pause_s = doubled_s(first_pause_s, cap_s, self.failed_starts - 1) if self.failed_starts else 0.0
        self.state, self.tail, self.batch = SlotState.BACKOFF, None, []
        self.failed_starts += 1
        return pause_s
