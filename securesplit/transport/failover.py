"""Where a request goes next and how long it rests before: what both connections have in common, without any I/O."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from securesplit.errors import ConfigError, SecureSplitError, UnreachableError
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.refusal import Retry
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
    """The tries of one request: its deadline, its pauses, and what came of each endpoint.

    Args:
        patience: how long to wait for what.
        clock: seconds, rising.
        random_fraction: gives numbers evenly from [0, 1).

    Attributes:
        refusals: tries that failed by what was answered, by endpoint; that it was not there for a while is no refusal.
        last: why the last one failed, by endpoint.
        given_up: endpoints that this request is not sent to again.
        rest_until_s: when an endpoint wants to be asked again, in seconds since the request's start.
    """

    def __init__(
        self,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self.deadline = Deadline(patience.total_s, clock)
        self.backoff = Backoff(random_fraction)
        self.refusals: Counter[int] = Counter()
        self.last: dict[int, Retry] = {}
        self.given_up: set[int] = set()
        self.rest_until_s: dict[int, float] = {}

    @property
    def budget_ms(self) -> int:
        """What is left of the request's time, for the worker to know."""
        return int(self.deadline.left_s * 1_000)

    def note(self, endpoint: int, retry: Retry) -> None:
        """A try at an endpoint failed."""
        self.refusals[endpoint] += retry.limit is not None
        self.last[endpoint] = retry
        self.rest_until_s[endpoint] = self.deadline.elapsed_s + retry.after_s
        if retry.limit is not None and self.refusals[endpoint] >= retry.limit:
            self.given_up.add(endpoint)

    def rest_s(self, endpoint: int) -> float:
        """How long an endpoint still wants to be left alone, in seconds."""
        return max(0.0, self.rest_until_s.get(endpoint, 0.0) - self.deadline.elapsed_s)


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
        self._met: set[int] = set()

    def choose(self, attempts: Attempts) -> int:
        """The endpoint of a request's next try: the current one, unless the request has given that up."""
        return next(endpoint for endpoint in self._from(self.current) if endpoint not in attempts.given_up)

    def try_s(self, attempts: Attempts) -> float:
        """How long the next try may take, so that time is left for the endpoints that were not tried yet."""
        untried = len(self.endpoints) - len(attempts.last)
        return min(self._patience.try_s, attempts.deadline.left_s / max(1, untried))

    def succeeded(self, tried: int) -> None:
        """A request was answered."""
        self._met.add(tried)

    def failed(self, retry: Retry, tried: int, attempts: Attempts) -> float:
        """Choose where the next try goes.

        Args:
            retry: how the last one failed.
            tried: the endpoint that it went to, from `choose`.
            attempts: of the request.

        Returns:
            seconds to rest before.

        Raises:
            TrustError, WorkerError: every endpoint was tried and given up, for a refusal that was proven or not.
            UnreachableError: likewise, or there is no time for another try.
        """
        attempts.note(tried, retry)
        if not retry.absent:
            self._met.add(tried)
        open_ = [endpoint for endpoint in self._from(tried) if endpoint not in attempts.given_up]
        if not open_:
            raise self._final(attempts)
        if (retry.elsewhere or tried in attempts.given_up) and self.current == tried:
            self.current = min([e for e in open_ if e != tried] or open_, key=attempts.rest_s)
        pause_s = self._pause_s(retry, attempts)
        deadline = attempts.deadline
        if pause_s >= deadline.left_s or self._is_absent(open_, attempts, deadline.elapsed_s + pause_s):
            self._met.clear()
            raise self._final(attempts)
        return pause_s

    def _pause_s(self, retry: Retry, attempts: Attempts) -> float:
        """None where nothing is gained by waiting; else longer with each failure, or what the next endpoint wants."""
        rest_s = attempts.rest_s(self.choose(attempts))
        return rest_s if retry.at_once else attempts.backoff.next_s(rest_s)

    def _is_absent(self, open_: list[int], attempts: Attempts, elapsed_s: float) -> bool:
        """Whether it is time to give up, since nothing listens at any endpoint that is left."""
        absent = (endpoint in attempts.last and attempts.last[endpoint].absent for endpoint in open_)
        return elapsed_s > self._patience.absent_s and all(absent) and self._met.isdisjoint(open_)

    def _from(self, first: int) -> list[int]:
        """All endpoints in their order, beginning with `first`."""
        many = len(self.endpoints)
        return [(first + n) % many for n in range(many)]

    def _final(self, attempts: Attempts) -> SecureSplitError:
        """The error of a request that is given up: what is proven before what is claimed, and claims only of all."""
        said = sorted(attempts.last.items(), key=lambda item: item[1].verdict is None)
        retry = said[0][1]
        if retry.verdict is not None:
            return retry.verdict
        if len(attempts.given_up) == len(self.endpoints):
            errors = [retry.error(self.endpoints[endpoint]) for endpoint, retry in said]
            return type(errors[0])("; ".join(error.message for error in errors), hint=errors[0].hint)
        return self._unreachable(attempts)

    def _unreachable(self, attempts: Attempts) -> UnreachableError:
        nowhere = [retry.nowhere for retry in attempts.last.values() if retry.nowhere is not None]
        if len(nowhere) == len(self.endpoints):  # no worker was asked, so none failed to answer
            return UnreachableError("; ".join(error.message for error in nowhere), hint=nowhere[0].hint)
        where = ", ".join(str(endpoint) for endpoint in self.endpoints)
        whys = {endpoint: attempts.last[endpoint].why for endpoint in sorted(attempts.last)}
        several = len(self.endpoints) > 1
        why = "; ".join(f"{self.endpoints[endpoint]}: {why}" if several else why for endpoint, why in whys.items())
        hint = f"start one there with securesplit tail-worker --bind {self.endpoints[0]}, or check --connect"
        return UnreachableError(
            f"no worker answered at {where} within {attempts.deadline.elapsed_s:.0f} s ({why})", hint=hint
        )


def too_crowded() -> UnreachableError:
    """The error of a request that never had its turn."""
    hint = "ask for less at once, or wait longer"
    return UnreachableError("other requests of this client took all the time", hint=hint)
