"""The client's connection: one request, one answer, through whatever the network and the workers do meanwhile.

The Lazy Pirate pattern (ZeroMQ guide, chapter 4) with a total deadline: a try that fails is repeated with the same
request id, after a pause with jitter, on the next endpoint where the last one failed. A worker computes the same id
once and the answer is accepted once. An endpoint that refuses an identity (TrustError) or a request (WorkerError) is
given up for this request, and the error raised once every endpoint is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, TypeVar

import zmq
from numpy.typing import NDArray

from securesplit import tracing
from securesplit.channel.payload import OutgoingRequest
from securesplit.errors import UnreachableError
from securesplit.forking import PerProcess
from securesplit.pki.credentials import Credentials
from securesplit.transport.answer import Answer
from securesplit.transport.base_connection import BaseConnection
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.failover import RetryState, Timeouts, client_closed, too_crowded
from securesplit.transport.inquiry import (
    EncryptedInquiry,
    EncryptedRelease,
    EncryptionInquiry,
    Inquiry,
    KeyNeeded,
    PlainInquiry,
)
from securesplit.transport.key_upload import EvaluationKeys, KeyUpload, check_uploads
from securesplit.transport.retry_policy import Retry
from securesplit.transport.sockets import end_context, new_context
from securesplit.transport.worker_session import Exchange, WorkerSession

__all__ = ["Answer", "Connection", "Timeouts"]

BeforeSending: TypeAlias = Callable[[], None]
T = TypeVar("T")


@dataclass
class _Opened:
    """What each process has for itself; sessions are made when they are needed.

    Attributes:
        lock: of whoever asks or closes; a thread's own handler of a signal gets it too, so see `is_asking`.
        context: makes the sockets.
        sessions: one for each endpoint.
        is_asking: a request is under way, whose sockets must not be touched by a handler that interrupts it.
        is_over: `Connection.close` was called.
    """

    lock: threading.RLock
    context: zmq.Context[zmq.Socket[bytes]]
    sessions: list[WorkerSession]
    is_asking: bool = False
    is_over: bool = False

    def close_sessions(self) -> None:
        """End all sessions."""
        for session in self.sessions:
            session.close()


class Connection(BaseConnection):
    """A client's connection to one of several workers; many requests share one handshake. Any thread may call it.

    Its arguments are those of `BaseConnection`.
    """

    def _start(self) -> None:
        self._opened = PerProcess(self._open)

    def request(self, release: NDArray[Any], *, before_sending: BeforeSending = lambda: None) -> Answer:
        """Have one release computed.

        Args:
            release: a preset's shape and integer dtype.
            before_sending: called once a worker has proved who it is and the release is about to leave, again before
                each retry; nothing leaves if it raises. One that has returned says nothing of what arrived.

        Raises:
            UnreachableError: no worker answered in time, nothing listens at any endpoint, or other threads took all
                the time.
            TrustError: one side refused the other, at every endpoint.
            WorkerError: no worker can compute this request.
            ConfigError: this process may open no more files.
        """
        return self._request(PlainInquiry(release), before_sending)

    def request_encrypted(
        self, release: EncryptedRelease, *, before_sending: BeforeSending = lambda: None
    ) -> list[Answer]:
        """Have photos that share a ciphertext computed: an answer for each.

        A worker that lacks the evaluation keys gets them first, which the request's time does not count.

        Args:
            release: the ciphertext.
            before_sending: as `request`.

        Raises:
            UnreachableError, TrustError, WorkerError, ConfigError: as `request`.
            CredentialError: the evaluation keys cannot be read.
        """
        return self._request(EncryptedInquiry(release), before_sending)

    def check_encryption(self) -> None:
        """That a worker computes on ciphertexts; no key is made or uploaded for it, and 150 kB are sent.

        Raises:
            UnreachableError, TrustError, WorkerError, ConfigError: as `request`; it does not.
        """
        self._request(EncryptionInquiry(), _nothing)

    def _request(self, inquiry: Inquiry[T], before_sending: BeforeSending) -> T:
        retries, opened = self._new_retries(), self._opened.value
        try:
            return self._take_turn(opened, inquiry, retries, before_sending)
        finally:
            if opened.is_over:
                self.close()

    def renew(self, credentials: Credentials) -> None:
        """Use other credentials from the next request on; sessions under the old ones end."""
        opened = self._opened.value
        with opened.lock:
            self._credentials = credentials
            if not opened.context.closed:
                if not opened.is_asking:
                    opened.close_sessions()
                opened.sessions = self._new_sessions()

    def close(self) -> None:
        """End all sessions, and an upload at its next piece; the connection cannot be used again.

        In a fork, the parent's continue.

        In a signal's handler that interrupts a request of the same thread: once that request has ended.
        """
        if self._opened.is_inherited:
            return
        opened = self._opened.value
        opened.is_over = True
        with opened.lock:
            if not opened.is_asking and not opened.context.closed:
                opened.close_sessions()
                end_context(opened.context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stands(self) -> bool:
        """Whether a worker has answered, and may be asked again without a handshake, as far as is known."""
        return any(session.stands for session in self._opened.value.sessions)

    def _open(self) -> _Opened:
        return _Opened(threading.RLock(), new_context(), self._new_sessions())

    def _new_sessions(self) -> list[WorkerSession]:
        return [self._session(endpoint) for endpoint in self._selector.endpoints]

    def _session(self, endpoint: Endpoint) -> WorkerSession:
        return WorkerSession(
            endpoint,
            self._credentials,
            self._identity,
            server_name=self._server_name or endpoint.host,
            connect_timeout_s=self._timeouts.connect_s,
        )

    def _take_turn(self, opened: _Opened, inquiry: Inquiry[T], retries: RetryState, before_sending: BeforeSending) -> T:
        """Persist, while no other thread does.

        A signal may raise from within any call, also just when the lock was taken. An RLock knows whose it is, so it is
        released whatever was still noted of it.
        """
        mine = False
        try:
            while not opened.lock.acquire(timeout=retries.deadline.left_s):
                if not retries.deadline.left_s:
                    raise too_crowded()
            if opened.is_over or opened.is_asking:
                raise _unusable(opened)
            mine = opened.is_asking = True
            return self._persist(opened, inquiry, retries, before_sending)
        finally:
            if mine:
                opened.is_asking = False
            try:  # noqa: SIM105 - another call would be another place for a signal
                opened.lock.release()
            except RuntimeError:  # it was not this thread's
                pass

    def _persist(self, opened: _Opened, inquiry: Inquiry[T], retries: RetryState, before_sending: BeforeSending) -> T:
        """Try until there is an answer, no endpoint is left, or no time."""
        ref, lacking = self._new_ref(), None
        while True:
            tried = self._selector.choose(retries)
            endpoint = self._selector.endpoints[tried]
            try:
                if lacking is not None:
                    with tracing.whole_stage("upload"):
                        self._upload(opened, lacking, tried, retries)
                request = inquiry.outgoing(endpoint)
                (exchange,) = self._ask(opened, tried, {ref: request}, retries, before_sending)
                found = inquiry.conclude(exchange, request.frame_bytes, retries.deadline.elapsed_s, endpoint)
            except KeyNeeded as needed:
                ref, lacking = self._new_ref(), needed.keys
            except Retry as retry:
                lacking = None
                time.sleep(self._selector.failed(retry, tried, retries))
            else:
                self._selector.succeeded(tried)
                self._fruitless[tried].answered()
                return found

    def _upload(self, opened: _Opened, keys: EvaluationKeys, tried: int, retries: RetryState) -> None:
        """Bring a worker the evaluation keys that it lacks.

        Raises:
            Retry: it did not work this time.
            UnreachableError: the connection was closed meanwhile.
        """
        check_uploads(retries.uploads[tried], retries.pieces[tried])
        self._fruitless[tried].check()
        upload = KeyUpload(keys, self._timeouts.try_s)
        while chunks := upload.next_chunks():
            if opened.is_over:
                raise _unusable(opened)
            retries.pieces[tried] += len(chunks)
            start_s = time.perf_counter()
            exchanges = self._ask(opened, tried, {self._new_ref(): one for one in chunks}, retries, _nothing)
            took_s = time.perf_counter() - start_s
            upload.take([exchange.plaintext for exchange in exchanges], took_s)
            self._uploading.add(took_s)
            self._fruitless[tried].took(len(chunks))
        retries.uploads[tried] += 1
        self._fruitless[tried].ended()

    def _ask(
        self,
        opened: _Opened,
        tried: int,
        requests: dict[int, OutgoingRequest],
        retries: RetryState,
        before_sending: BeforeSending,
    ) -> list[Exchange]:
        """One try of requests, by their ids, at one endpoint; raises as `WorkerSession.ask`."""
        plaintexts = {ref: request.plaintext(retries.budget_ms) for ref, request in requests.items()}
        try_s = self._selector.try_s(retries)
        return opened.sessions[tried].ask(opened.context, plaintexts, try_s, before_sending=before_sending)


def _nothing() -> None:
    """Nothing is to be done before what concerns no photo leaves."""


def _unusable(opened: _Opened) -> UnreachableError:
    if opened.is_over:
        return client_closed()
    return UnreachableError("a request of this client is under way in the same thread", hint="ask when it has ended")
