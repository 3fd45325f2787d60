"""Opened requests in, sealed answers out: from memory, from a job that runs already, or from a new one.

Invariants:

- A request is computed once while its answer is remembered, however often it is sent.
- What waits is bounded, in all, by client and by session (`PoolSettings`). What is over a bound is refused with BUSY
  and the time after which to come back; a full queue takes from the client that has most.
- No log line holds a key, a release or an answer.

Chunks of evaluation keys are handled here, without a tail. So are ciphertexts whose keys are not held: that answer is
not remembered, since the client uploads them and asks again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from numpy.typing import NDArray

from securesplit import tracing
from securesplit.channel import payload, tensor
from securesplit.channel.events import Request
from securesplit.channel.frames import Code, Reason
from securesplit.channel.payload import ParsedRequest
from securesplit.channel.server import ServerChannel
from securesplit.channel.tensor import TensorError
from securesplit.encrypted import messages
from securesplit.encrypted.messages import ChunkStatus, KeyChunk, MessageError, Status
from securesplit.worker.inflight import Answers, InFlight
from securesplit.worker.jobs import Job, JobKey, JobResult, JobStatus
from securesplit.worker.key_store import KeyStore
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.log_throttle import LogThrottle
from securesplit.worker.pacing import Pacer
from securesplit.worker.pool import Pool
from securesplit.worker.served_model import KEY_CHUNK, ServedModel
from securesplit.worker.settings import PoolSettings

_log = logging.getLogger(__name__)
_MAX_BUDGET_S = 300.0
_LEARN = 0.1
_STATUSES = {
    JobStatus.DONE: Status.ANSWERED,
    JobStatus.KEY_NEEDED: Status.KEY_NEEDED,
    JobStatus.REFUSED: Status.REFUSED,
}

Route: TypeAlias = tuple[bytes, ...]
"""The envelope that an answer goes out in."""


class Dispatcher:
    """Between the channel and the pool.

    Args:
        channel: seals the answers.
        pool: computes them.
        served: what it computes.
        settings: of the pool.
        counters: where everything is counted.
        send: puts a frame on its way.
        pacer: does so with refusals, when it is their turn.
        keys: evaluation keys, where `served` takes ciphertexts.
        clock: seconds, rising.
    """

    def __init__(
        self,
        channel: ServerChannel,
        pool: Pool,
        served: ServedModel,
        settings: PoolSettings,
        counters: Counters,
        *,
        send: Callable[[Route, bytes], None],
        pacer: Pacer,
        clock: Callable[[], float],
        keys: KeyStore | None = None,
    ) -> None:
        self._channel, self._pool, self._served, self._settings = channel, pool, served, settings
        self._counters, self._send, self._pacer, self._clock = counters, send, pacer, clock
        self._keys, self._in_flight, self._answers = keys, InFlight(), Answers()
        self._tail_s, self._bad_requests = 0.0, LogThrottle(clock)

    def __len__(self) -> int:
        """Requests that were accepted and not answered yet."""
        return len(self._in_flight)

    @property
    def wait_ms(self) -> int:
        """When half of what waits now will have been computed, at the present speed; 10 ms to 5 s."""
        wait_s = self._pool.waiting * self._tail_s / max(1, self._pool.ready) / 2
        return round(1_000 * min(5.0, max(0.01, wait_s)))

    def accept(self, event: Request, route: Route, *, received: float, drain_ms: int | None = None) -> None:
        """Answer from memory, follow a retry, or queue a new job.

        Args:
            event: the request.
            route: where its answer goes.
            received: when its message had its turn.
            drain_ms: where nothing new is accepted, when another worker may be asked.
        """
        key = (event.session, event.ref)
        answer, job = self._answers.find(key), self._in_flight.find(key)
        self._counters.repeated += answer is not None or job is not None
        if answer is not None:
            self._reply(key, route, answer)
        elif job is not None:
            job.route = route
        elif drain_ms is not None:
            self._refuse("draining", Code.DRAIN, event, route, drain_ms)
        elif self._in_flight.of_session(event.session) >= self._settings.session_limit:
            self._refuse("session-limit", Code.BUSY, event, route, self.wait_ms)
        elif self._in_flight.of_client(event.client) >= self._settings.client_limit:
            self._refuse("client-limit", Code.BUSY, event, route, self.wait_ms)
        else:
            self._queue(event, route, received)

    def tick(self) -> None:
        """Forget old answers; about once a second."""
        self._answers.expire(self._clock())

    def conclude(self, result: JobResult) -> None:
        """Answer a job that has ended, and remember the answer."""
        job, ended = result.job, self._clock()
        self._in_flight.remove(job)
        self._counters.requests[result.status.name.lower()] += 1
        if result.status is not JobStatus.EXPIRED:
            self._answer(result)
        if tracing.is_on():
            self._trace(result, ended)

    def _answer(self, result: JobResult) -> None:
        job = result.job
        plaintext = self._plaintext(result)
        if result.status is JobStatus.DONE:
            self._tail_s += _LEARN * (result.tail_ms / 1_000 - self._tail_s)
        if result.status is not JobStatus.KEY_NEEDED:
            self._answers.add(job.key, plaintext, self._clock())
        self._reply(job.key, job.route, plaintext)
        if result.status is JobStatus.DONE:
            self._counters.computed(job.taken - job.since, result.tail_ms / 1_000, self._clock() - job.since)

    def _plaintext(self, result: JobResult) -> bytes:
        """What is sealed; empty where it cannot be computed."""
        if result.status is JobStatus.POISON:
            return b""
        if not isinstance(result.job.release, messages.Request):
            return payload.encode_answer(result.logit, result.tail_ms)
        status = _STATUSES[result.status]
        return self._encrypted_answer(messages.Answer(status, result.tail_ms, result.ciphertext))

    def _encrypted_answer(self, answer: messages.Answer) -> bytes:
        self._counters.encrypted[answer.status.name.lower()] += 1
        return tensor.encode(answer.encode())

    def _trace(self, result: JobResult, ended: float) -> None:
        """Make a span of a job that ended at `ended` and was answered by now."""
        job, now = result.job, self._clock()
        stages = [("receive", job.received, job.since), ("queue", job.since, job.taken or ended)]
        if job.taken:
            stages.append(("tail", job.taken, ended))
        if result.status is not JobStatus.EXPIRED:
            stages.append(("seal", ended, now))
        tracing.record("request", stages, now, preset=job.preset, outcome=result.status.name.lower())

    def _queue(self, event: Request, route: Route, received: float) -> None:
        try:
            wanted = payload.parse_request(event.plaintext, self._served.specs)
            if wanted.spec in self._served.presets:
                self._submit(event, route, received, wanted, wanted.release, self._served.presets[wanted.spec])
            elif self._keys is None:  # a ciphertext, on which this machine cannot compute
                self._refuse("preset", Code.WORKER, event, route, reason=Reason.PRESET)
            else:
                self._keys.shown(event.shown)
                self._queue_encrypted(self._keys, event, route, received, wanted)
        except (TensorError, MessageError) as error:
            self._warn(event.client, error)
            self._refuse("bad-release", Code.WORKER, event, route)

    def _queue_encrypted(
        self, keys: KeyStore, event: Request, route: Route, received: float, wanted: ParsedRequest
    ) -> None:
        """A chunk of evaluation keys, or a ciphertext.

        Raises:
            MessageError: it is neither.
        """
        if wanted.spec == KEY_CHUNK:
            self._store(keys, event, route, KeyChunk.decode(wanted.release))
        elif keys.holds(event.shown.key, (request := messages.Request.decode(wanted.release)).digest):
            self._submit(event, route, received, wanted, request, messages.PRESET)
        else:
            key_needed = messages.Answer(Status.KEY_NEEDED)
            self._reply((event.session, event.ref), route, self._encrypted_answer(key_needed))

    def _store(self, keys: KeyStore, event: Request, route: Route, chunk: KeyChunk) -> None:
        """Keep a chunk; a refusal is remembered, and every other answer may be another one the next time."""
        key, answer = (event.session, event.ref), keys.add(event.shown.key, chunk)
        plaintext = tensor.encode(answer.encode())
        if answer.status is ChunkStatus.REFUSED:
            self._answers.add(key, plaintext, self._clock())
        self._reply(key, route, plaintext)

    def _submit(
        self,
        event: Request,
        route: Route,
        received: float,
        wanted: ParsedRequest,
        release: NDArray[Any] | messages.Request,
        preset: str,
    ) -> None:
        now = self._clock()
        job = Job(
            key=(event.session, event.ref),
            client=event.client,
            preset=preset,
            release=release,
            expires_at=now + min(wanted.budget_s, _MAX_BUDGET_S),
            route=route,
            owner=event.shown.key,
            received=received,
            since=now,
        )
        lost = self._pool.submit(job)
        if lost is not job:
            self._in_flight.add(job)
        if lost is not None:
            self._give_up(lost)
        while (lost := self._pool.shed()) is not None:
            self._give_up(lost)

    def _warn(self, client: str, error: Exception) -> None:
        """Log a bad request, now and then."""
        if not self._bad_requests.is_due():
            return
        what = {"client": client, "why": str(error)}
        _log.warning("refused a request of client %(client)s: %(why)s", what, extra={"event": "request-refused"})

    def _give_up(self, job: Job) -> None:
        """The queue is full and has no place for this job, a new one or one that waited."""
        if self._in_flight.find(job.key) is job:
            self._in_flight.remove(job)
        session, ref = job.key
        self._counters.turned_away["queue-full"] += 1
        error = self._channel.error(Code.BUSY, ref, session, retry_after_ms=self.wait_ms)
        self._pacer.refuse(job.client, job.route, error)

    def _reply(self, key: JobKey, route: Route, plaintext: bytes) -> None:
        session, ref = key
        sealed = self._channel.seal_reply(session, ref, plaintext) if plaintext else None
        self._send(route, sealed or self._channel.error(Code.WORKER, ref, session))

    def _refuse(
        self, why: str, code: Code, event: Request, route: Route, retry_after_ms: int = 0, reason: Reason = Reason.NONE
    ) -> None:
        self._counters.turned_away[why] += 1
        error = self._channel.error(code, event.ref, event.session, retry_after_ms=retry_after_ms, reason=reason)
        self._pacer.refuse(event.client, route, error)
