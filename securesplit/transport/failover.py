"""Where a request goes next and how long it rests before: what both connections have in common, without any I/O."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from securesplit.errors import ConfigError, SecureSplitError, UnreachableError
from securesplit.text import seconds_text
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.retry import Backoff, Deadline
from securesplit.transport.retry_policy import Retry

_TRY_S = 8.0  # longer than a worker needs to replace a hung tail (5 s), so that a try is not given up in vain


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for what.

    Attributes:
        total_s: from a request's start until it is given up.
        absent_s: until an address where nothing listens is given up, unless a worker was met there before.
        try_s: for one answer, before the same request is sent again over a new connection.
        connect_s: for opening a connection; longer after one that was not open in time (`Addresses.connect_s`).
        upload_s: for evaluation keys, of one request beside `total_s`, as long as piece after piece arrives: 103 of
            them, each of which may take `try_s`.
        room_s: likewise for waiting until a worker has room for them; at most twice `total_s`.
    """

    total_s: float = 30.0
    absent_s: float = 2.0
    try_s: float = _TRY_S
    connect_s: float = 3.0
    upload_s: float = 1_200.0
    room_s: float = 60.0


class UploadTime:
    """How long a connection has been uploading evaluation keys; its requests' time stands still meanwhile.

    Only time in which a piece arrived counts: a worker that takes none is as silent as any other.
    """

    def __init__(self) -> None:
        self._total_s = 0.0

    def add(self, seconds: float) -> None:
        """A piece has arrived, so many seconds after it was begun."""
        self._total_s += seconds

    def since_now(self, most_s: float) -> Callable[[], float]:
        """What tells how much of it came after this call, at most `most_s`."""
        before_s = self._total_s
        return lambda: min(most_s, self._total_s - before_s)


class RetryState:
    """The tries of one request: its deadline, its pauses, and what came of each endpoint.

    Args:
        timeouts: how long to wait for what.
        clock: seconds, rising.
        random_fraction: gives numbers evenly from [0, 1).
        uploading: of the connection.

    Attributes:
        refusals: tries that failed by what was answered, by endpoint; being absent for a while is not a refusal.
        last: why the last one failed, by endpoint.
        given_up: endpoints that this request is not sent to again.
        rest_until_s: when an endpoint wants to be asked again, in seconds since the request's start.
        uploads: of evaluation keys that were completed, by endpoint.
        pieces: of evaluation keys that were sent, by endpoint.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        clock: Callable[[], float] = time.perf_counter,
        random_fraction: Callable[[], float] = random.random,
        uploading: UploadTime | None = None,
    ) -> None:
        uploaded_s = (uploading or UploadTime()).since_now(timeouts.upload_s)
        self._queued_s, self._room_s = 0.0, min(timeouts.room_s, 2 * timeouts.total_s)
        self.deadline = Deadline(timeouts.total_s, clock, lambda: uploaded_s() + self._queued_s)
        self.backoff = Backoff(random_fraction)
        self.refusals: Counter[int] = Counter()
        self.last: dict[int, Retry] = {}
        self.given_up: set[int] = set()
        self.rest_until_s: dict[int, float] = {}
        self.uploads: Counter[int] = Counter()
        self.pieces: Counter[int] = Counter()

    @property
    def budget_ms(self) -> int:
        """What is left of the request's time, for the worker to know."""
        return int(self.deadline.left_s * 1_000)

    def note(self, endpoint: int, retry: Retry) -> None:
        """A try at an endpoint failed; one that the deadline cut short does not hide why those before it did."""
        self.refusals[endpoint] += retry.limit is not None
        if self.deadline.left_s or retry.limit is not None or endpoint not in self.last:
            self.last[endpoint] = retry
        self.rest_until_s[endpoint] = self.deadline.elapsed_s + retry.after_s
        if retry.limit is not None and self.refusals[endpoint] >= retry.limit:
            self.given_up.add(endpoint)

    def wait_for_room(self, seconds: float) -> None:
        """Put the deadline off by the time that a worker without room takes, up to `Timeouts.room_s` in all."""
        self._queued_s = min(self._room_s, self._queued_s + seconds)

    def rest_s(self, endpoint: int) -> float:
        """How long an endpoint still wants to be left alone, in seconds."""
        return max(0.0, self.rest_until_s.get(endpoint, 0.0) - self.deadline.elapsed_s)


class EndpointSelector:
    """The endpoints of a connection, and the one that its requests go to at present.

    Args:
        endpoints: ``tcp://HOST:PORT`` of workers that hold the same bundle.
        timeouts: how long to wait for what.

    Raises:
        ConfigError: there is no endpoint, or one has another form.
    """

    def __init__(self, endpoints: Sequence[str], timeouts: Timeouts) -> None:
        self.endpoints = [Endpoint.parse(endpoint) for endpoint in endpoints]
        if not self.endpoints:
            raise ConfigError("no worker to connect to", hint="name one with --connect tcp://HOST:PORT")
        self.current = 0
        self._timeouts = timeouts
        self._met: set[int] = set()

    def choose(self, retries: RetryState) -> int:
        """The endpoint of a request's next try: the current one, unless the request has given that up."""
        return next(endpoint for endpoint in self._from(self.current) if endpoint not in retries.given_up)

    def try_s(self, retries: RetryState) -> float:
        """How long the next try may take, so that time is left for the endpoints that were not tried yet."""
        untried = len(self.endpoints) - len(retries.last)
        return min(self._timeouts.try_s, retries.deadline.left_s / max(1, untried))

    def succeeded(self, tried: int) -> None:
        """A request was answered."""
        self._met.add(tried)

    def failed(self, retry: Retry, tried: int, retries: RetryState) -> float:
        """Choose where the next try goes.

        Args:
            retry: how the last one failed.
            tried: the endpoint that it went to, from `choose`.
            retries: of the request.

        Returns:
            seconds to rest before.

        Raises:
            TrustError, WorkerError: every endpoint was tried and given up, for a refusal that was proven or not.
            UnreachableError: likewise, or there is no time for another try.
        """
        retries.note(tried, retry)
        if not retry.absent:
            self._met.add(tried)
        open_ = [endpoint for endpoint in self._from(tried) if endpoint not in retries.given_up]
        if not open_:
            raise self._final(retries)
        if (retry.elsewhere or tried in retries.given_up) and self.current == tried:
            self.current = min([e for e in open_ if e != tried] or open_, key=retries.rest_s)
        pause_s = self._pause_s(retry, retries)
        if retry.queued_s:
            retries.wait_for_room(retry.queued_s + pause_s)
        deadline = retries.deadline
        if pause_s >= deadline.left_s or self._is_absent(open_, retries, deadline.elapsed_s + pause_s):
            self._met.clear()
            raise self._final(retries)
        return pause_s

    def _pause_s(self, retry: Retry, retries: RetryState) -> float:
        """What the next endpoint wants, and more with each failure, unless nothing is gained by waiting."""
        rest_s = retries.rest_s(self.choose(retries))
        return rest_s if retry.at_once else retries.backoff.next_s(rest_s)

    def _is_absent(self, open_: list[int], retries: RetryState, elapsed_s: float) -> bool:
        """Whether it is time to give up, since nothing listens at any endpoint that is left."""
        absent = (endpoint in retries.last and retries.last[endpoint].absent for endpoint in open_)
        return elapsed_s > self._timeouts.absent_s and all(absent) and self._met.isdisjoint(open_)

    def _from(self, first: int) -> list[int]:
        """All endpoints in their order, beginning with `first`."""
        many = len(self.endpoints)
        return [(first + n) % many for n in range(many)]

    def _final(self, retries: RetryState) -> SecureSplitError:
        """The error of a request that is given up: what is proven before what is claimed, and claims only of all."""
        said = sorted(retries.last.items(), key=lambda item: item[1].verdict is None)
        retry = said[0][1]
        if retry.verdict is not None:
            return retry.verdict
        if len(retries.given_up) == len(self.endpoints):
            errors = [retry.error(self.endpoints[endpoint]) for endpoint, retry in said]
            return type(errors[0])("; ".join(error.message for error in errors), hint=errors[0].hint)
        return self._unreachable(retries)

    def _unreachable(self, retries: RetryState) -> UnreachableError:
        nowhere = [retry.nowhere for retry in retries.last.values() if retry.nowhere is not None]
        if len(nowhere) == len(self.endpoints):  # no worker was asked, so none failed to answer
            return UnreachableError("; ".join(error.message for error in nowhere), hint=nowhere[0].hint)
        where = ", ".join(str(endpoint) for endpoint in self.endpoints)
        whys = {endpoint: retries.last[endpoint].why for endpoint in sorted(retries.last)}
        several = len(self.endpoints) > 1
        why = "; ".join(f"{self.endpoints[endpoint]}: {why}" if several else why for endpoint, why in whys.items())
        hint = f"start one there with securesplit tail-worker --bind {self.endpoints[0]}, or check --connect"
        waited = seconds_text(retries.deadline.elapsed_s)
        return UnreachableError(f"no worker answered at {where} within {waited} s ({why})", hint=hint)


def client_closed() -> UnreachableError:
    """The error of a request that is given up since its client was closed."""
    return UnreachableError("the client was closed", hint="keep it open until the last answer")


def too_crowded() -> UnreachableError:
    """The error of a request that never had its turn."""
    hint = "ask for less at once, or wait longer"
    return UnreachableError("other requests of this client took all the time", hint=hint)
