"""What a front reports about itself while it runs, and to whom.

A front has one `FrontObserver` and calls it from its own thread. The base class only counts, which is all that a worker
inside another program needs; ``operations.py`` has the one of a ``tail-worker``. No method may block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from securesplit.channel.sessions import Ended, Session
from securesplit.pki.credentials import Credentials, Span
from securesplit.worker.monitoring.counters import Counters


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """A store of evaluation keys at one moment.

    Attributes:
        held: keys that can be computed with.
        charged_bytes: what keys and uploads take, or will take.
        limit_bytes: what they may take.
        wanted_bytes: what they would take with those that made room within the last hour.
        waiting: clients that wait until they may upload.
    """

    held: int
    charged_bytes: int
    limit_bytes: int
    wanted_bytes: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A front at one moment.

    Attributes:
        sessions: open ones.
        half_open: handshakes that wait for their second flight.
        waiting: requests that wait for a tail.
        in_flight: requests that were accepted and not answered.
        tails: how many tails are in each state, zeros included, by the label of the metric.
        tail_bytes: resident memory of each process of the tails; 0 where the system does not tell.
        was_ready: all tails could compute at some time.
        is_draining: nothing new is accepted.
        silent_s: seconds since the loop last came round.
        expires_at: when the server's certificate ends.
        confinement: layers that hold for the tails (``sandbox/``); None before one was ready.
        keys: evaluation keys; None where no ciphertext is taken.
        trusts: when peers can be accepted at all (`credentials.trust_spans`).
    """

    sessions: int
    half_open: int
    waiting: int
    in_flight: int
    tails: Mapping[str, int]
    tail_bytes: tuple[int, ...]
    was_ready: bool
    is_draining: bool
    silent_s: float
    expires_at: datetime
    confinement: tuple[str, ...] | None = None
    keys: KeyStatus | None = None
    trusts: tuple[Span, ...] = ()

    @property
    def ready_tails(self) -> int:
        """Tails that can compute."""
        return self.tails.get("idle", 0) + self.tails.get("busy", 0)


class FrontObserver:
    """Counts events, and does nothing else with them.

    Attributes:
        counters: the counts.
    """

    def __init__(self) -> None:
        self.counters = Counters()

    def opened(self, session: Session) -> None:  # noqa: ARG002  (for those who override it)
        """A client has proved itself."""
        self.counters.opened += 1

    def ended(self, session: Session, why: Ended) -> None:  # noqa: ARG002  (likewise)
        """A session is gone."""
        self.counters.ended[why.value] += 1

    def tick(self) -> None:
        """About a second has passed; called from the loop, so it also says that the loop turns."""

    def reloading(self) -> None:
        """An operator asked to read the files again."""

    def reloaded(self, credentials: Credentials | None) -> None:
        """New credentials are in use; None: the old ones stay."""
        self.counters.reloads["failed" if credentials is None else "done"] += 1
        self.counters.last_reload_failed = credentials is None

    def draining(self) -> None:
        """Nothing new is accepted from now on; may be called more than once."""
