"""Where a request goes next and how long it rests before: what both connections have in common, without any I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from securesplit.errors import ConfigError, UnreachableError
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.peer import Retry
from securesplit.transport.retry import Backoff, Deadline

_TRY_S = 8.0  # longer than a worker needs to replace a hung tail (5 s), so that a try is not given up in vain


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what.

    Attributes:
        total_s: from a request's start until it is given up.
        absent_s: until an address where nothing listens is given up, unless a worker was met there before.
        try_s: for one answer, before the same request is sent again over a new connection.
        connect_s: for opening a connection.
    """

    total_s: float = 30.0
    absent_s: float = 2.0
    try_s: float = _TRY_S
    connect_s: float = 3.0


class Attempts:
    """The tries of one request: its deadline and its pauses.

    Args:
        patience: how long to wait for what.
        clock: seconds, rising.
        random_fraction: gives numbers evenly from [0, 1).
    """

    def __init__(
        self,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self._try_s = patience.try_s
        self.deadline = Deadline(patience.total_s, clock)
        self.backoff = Backoff(random_fraction)

    @property
    def budget_ms(self) -> int:
        """What is left of the request's time, for the worker to know."""
        return int(self.deadline.left_s * 1_000)

    @property
    def try_s(self) -> float:
        """How long the next try may take."""
        return min(self._try_s, self.deadline.left_s)


class Course:
    """The endpoints of a connection, and the one that its requests go to at present.

    Args:
        endpoints: ``tcp://HOST:PORT`` of workers that hold the same bundle.
        patience: how long to wait for what.

    Raises:
        ConfigError: there is no endpoint, or one has another form.
    """

    def __init__(self, endpoints: Sequence[str], patience: Patience) -> None:
        self.endpoints = [Endpoint.parse(endpoint) for endpoint in endpoints]
        if not self.endpoints:
            raise ConfigError("no worker to connect to", hint="name one with --connect tcp://HOST:PORT")
        self.current = 0
        self._patience = patience
        self._met_worker = False

    def succeeded(self) -> None:
        """A request was answered."""
        self._met_worker = True

    def failed(self, retry: Retry, tried: int, attempts: Attempts) -> float:
        """Choose where the next try goes.

        Args:
            retry: how the last one failed.
            tried: the endpoint that it went to, as `current` was then.
            attempts: of the request.

        Returns:
            seconds to rest before.

        Raises:
            UnreachableError: there is no time for another try.
        """
        self._met_worker = self._met_worker or not retry.absent
        deadline = attempts.deadline
        pause_s = 0.0 if retry.at_once else attempts.backoff.next_s(retry.after_s)
        absent = not self._met_worker and deadline.elapsed_s + pause_s > self._patience.absent_s
        if absent or pause_s >= deadline.left_s:
            self._met_worker = False
            raise self._unreachable(retry, deadline)
        if retry.elsewhere and self.current == tried:
            self.current = (tried + 1) % len(self.endpoints)
        return pause_s

    def _unreachable(self, retry: Retry, deadline: Deadline) -> UnreachableError:
        where = ", ".join(str(endpoint) for endpoint in self.endpoints)
        hint = f"start one there with securesplit tail-worker --bind {self.endpoints[0]}, or check --connect"
        return UnreachableError(
            f"no worker answered at {where} within {deadline.elapsed_s:.0f} s ({retry.why})", hint=hint
        )
