"""The client's connection for asyncio: as `connection.Connection`, with many requests in flight over one session.

Deadline, retries with the same request id, pauses and fail-over are those of `failover.py`. Cancelling a request, or
giving it a timeout of its own, leaves the session as it is for the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Self, TypeAlias, TypeVar

import zmq.asyncio
from numpy.typing import NDArray

from securesplit import tracing
from securesplit.channel.client import ClientChannel
from securesplit.channel.limits import REQUESTS_IN_FLIGHT
from securesplit.errors import ConfigError, TrustError, UnreachableError
from securesplit.forking import MadeHere
from securesplit.pki.credentials import Credentials
from securesplit.transport.addresses import Addresses
from securesplit.transport.answer import Answer
from securesplit.transport.base_connection import BaseConnection
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.failover import RetryState, Timeouts, too_crowded
from securesplit.transport.inquiry import EncryptedInquiry, EncryptedRelease, Inquiry, KeyNeeded, PlainInquiry
from securesplit.transport.key_upload import EvaluationKeys, FruitlessUploads, KeyUpload, check_uploads
from securesplit.transport.multiplexed_connection import MultiplexedConnection
from securesplit.transport.retry_policy import Retry, proven
from securesplit.transport.sockets import NeverWaiting, end_context, require_descriptors
from securesplit.transport.wire import Fault, TransportError
from securesplit.transport.worker_session import Exchange

BeforeSending: TypeAlias = Callable[[], Awaitable[None]]
T = TypeVar("T")


async def _nothing() -> None:
    """Nothing is to be done before a request leaves."""


class _Context(NeverWaiting, zmq.asyncio.Context):
    """A context of asyncio's sockets."""


class AsyncConnection(BaseConnection):
    """A client's connection to one of several workers, for one event loop.

    Its arguments are those of `BaseConnection`.
    """

    def _start(self) -> None:
        self._turns = asyncio.Semaphore(REQUESTS_IN_FLIGHT)
        self._made = MadeHere("connection")
        self._loop: asyncio.AbstractEventLoop | None = None
        require_descriptors()
        self._context = _Context()
        self._sessions = self._new_sessions()

    async def request(self, release: NDArray[Any], *, before_sending: BeforeSending = _nothing) -> Answer:
        """As `Connection.request`.

        Raises:
            UnreachableError: as there, or the connection was closed.
            ConfigError: this process is a fork of the one that made the connection, or another event loop used it.
            TrustError, WorkerError: as there.
        """
        return await self._request(PlainInquiry(release), before_sending)

    async def request_encrypted(
        self, release: EncryptedRelease, *, before_sending: BeforeSending = _nothing
    ) -> list[Answer]:
        """As `Connection.request_encrypted`.

        Requests that wait for one worker's keys share their upload; it ends with the last of them.
        """
        return await self._request(EncryptedInquiry(release), before_sending)

    async def _request(self, inquiry: Inquiry[T], before_sending: BeforeSending) -> T:
        self._made.check()
        self._check_loop()
        retries = self._new_retries()
        await self._take_turn(retries)
        try:
            return await self._persist(inquiry, retries, before_sending)
        finally:
            self._turns.release()

    def _check_loop(self) -> None:
        """What waits for a socket in one loop is never woken in another one."""
        running = asyncio.get_running_loop()
        self._loop = self._loop or running
        if self._loop is not running:
            hint = "make an AsyncClient within each asyncio.run, and close it there"
            raise ConfigError("this client was used in another event loop before", hint=hint)

    async def _take_turn(self, retries: RetryState) -> None:
        while left_s := retries.deadline.left_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._turns.acquire()
                return
        raise too_crowded()

    def renew(self, credentials: Credentials) -> None:
        """Use other credentials from the next request on; sessions under the old ones end with their last answer."""
        self._credentials = credentials
        for session in self._sessions:
            session.leave()
        self._sessions = self._new_sessions()

    async def close(self) -> None:
        """End all sessions; requests that still wait raise UnreachableError."""
        if not self._made.is_inherited and not self._context.closed:
            for session in self._sessions:
                session.close()
            await asyncio.sleep(0)  # those that waited are told before the sockets' context goes
            end_context(self._context)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def stands(self) -> bool:
        """Whether a worker has answered, and may be asked again without a handshake, as far as is known."""
        return any(session.stands for session in self._sessions)

    def _new_sessions(self) -> list[_AsyncWorkerSession]:
        return [self._session(endpoint) for endpoint in self._selector.endpoints]

    def _session(self, endpoint: Endpoint) -> _AsyncWorkerSession:
        credentials, name = self._credentials, self._server_name or endpoint.host
        return _AsyncWorkerSession(
            self._context, endpoint, lambda: ClientChannel(credentials, self._identity, name), self._timeouts
        )

    async def _persist(self, inquiry: Inquiry[T], retries: RetryState, before_sending: BeforeSending) -> T:
        """Try until there is an answer, no endpoint is left, or no time."""
        ref, lacking = self._new_ref(), None
        while True:
            if self._context.closed:
                raise UnreachableError("the connection was closed", hint="keep it open until the last answer")
            tried = self._selector.choose(retries)
            endpoint = self._selector.endpoints[tried]
            try:
                if lacking is not None:
                    with tracing.whole_stage("upload"):
                        await self._upload(lacking, tried, retries)
                request, try_s = inquiry.outgoing(endpoint), self._selector.try_s(retries)
                exchange = await self._sessions[tried].ask(
                    ref, request.plaintext(retries.budget_ms), try_s, before_sending
                )
                conclude = partial(
                    inquiry.conclude, exchange, request.frame_bytes, retries.deadline.elapsed_s, endpoint
                )
                found = await _in_thread(conclude) if inquiry.is_slow else conclude()
            except KeyNeeded as needed:
                ref, lacking = self._new_ref(), needed.keys
            except Retry as retry:
                lacking = None
                await asyncio.sleep(self._selector.failed(retry, tried, retries))
            else:
                self._selector.succeeded(tried)
                self._fruitless[tried].answered()
                return found

    async def _upload(self, keys: EvaluationKeys, tried: int, retries: RetryState) -> None:
        """Bring a worker the evaluation keys that it lacks, or wait until another request has.

        Raises:
            Retry: it did not work this time.
        """
        check_uploads(retries.uploads[tried], retries.pieces[tried])
        self._fruitless[tried].check()
        session = self._sessions[tried]
        before = session.pieces
        try:
            await session.upload(lambda: self._send_keys(session, keys, self._fruitless[tried]))
        finally:
            retries.pieces[tried] += session.pieces - before
        retries.uploads[tried] += 1

    async def _send_keys(self, session: _AsyncWorkerSession, keys: EvaluationKeys, fruitless: FruitlessUploads) -> None:
        deadline = self._new_retries().deadline
        upload = await _in_thread(lambda: KeyUpload(keys, self._timeouts.try_s))
        while chunks := upload.next_chunks():
            start_s, try_s = time.perf_counter(), min(self._timeouts.try_s, deadline.left_s)
            session.pieces += len(chunks)
            plaintexts = [chunk.plaintext(int(deadline.left_s * 1_000)) for chunk in chunks]
            exchanges = await _all(session.ask(self._new_ref(), each, try_s, _nothing) for each in plaintexts)
            took_s = time.perf_counter() - start_s
            upload.take([exchange.plaintext for exchange in exchanges], took_s)
            self._uploading.add(took_s)
            fruitless.took(len(chunks))
        fruitless.ended()


async def _all(tries: Iterable[Coroutine[Any, Any, Exchange]]) -> list[Exchange]:
    """What comes of tries that are begun together, in this order; none goes on where one fails."""
    tasks = [asyncio.ensure_future(each) for each in tries]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _in_thread(action: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, action)


@dataclass
class _SharedUpload:
    """An upload of keys that is under way, and how many requests wait for it."""

    task: asyncio.Task[None]
    waiting: int = 0


class _AsyncWorkerSession:
    """One endpoint and the connection to it that is in use.

    Args:
        context: makes the sockets.
        endpoint: of the worker.
        new_channel: makes a channel for a session.
        timeouts: how long opening a connection and a session may take.

    Attributes:
        pieces: of evaluation keys that were sent.
    """

    def __init__(
        self,
        context: zmq.asyncio.Context,
        endpoint: Endpoint,
        new_channel: Callable[[], ClientChannel],
        timeouts: Timeouts,
    ) -> None:
        self._context, self._new_channel, self._timeouts = context, new_channel, timeouts
        self._addresses, self._closed = Addresses(endpoint), False
        self._connection: MultiplexedConnection | None = None
        self._opening: asyncio.Task[MultiplexedConnection] | None = None
        self._upload: _SharedUpload | None = None
        self.pieces = 0

    async def ask(self, ref: int, plaintext: bytes, timeout_s: float, before_sending: BeforeSending) -> Exchange:
        """One try.

        Raises:
            Retry: it did not work this time.
        """
        connection, start_s = None, time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._usable()
                await before_sending()
                return await connection.ask(ref, plaintext)
        except TimeoutError:
            if connection is not None and connection.heard_s < start_s:
                connection.doubt(start_s)
            raise Retry(Fault.SILENT.value, elsewhere=True) from None
        except TransportError as error:
            raise Retry(error.fault.value, elsewhere=True) from None
        except TrustError as error:
            raise proven(error) from None

    async def upload(self, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Upload keys, or wait for the upload that is under way; it ends when nobody waits for it any more.

        Raises:
            Retry: it did not work this time.
        """
        upload = self._upload = self._upload or _SharedUpload(asyncio.ensure_future(send()))
        upload.waiting += 1
        try:
            await asyncio.shield(upload.task)
        finally:
            upload.waiting -= 1
            if upload.task.done() or not upload.waiting:
                upload.task.cancel()
                self._upload = None if self._upload is upload else self._upload

    @property
    def stands(self) -> bool:
        """Whether it has answered, over a connection that may be used again."""
        return self._connection is not None and self._connection.is_usable and self._connection.heard_s > -inf

    def retire(self) -> None:
        """Take no more requests; those that wait are answered."""
        if self._connection is not None:
            self._connection.retire()

    def leave(self) -> None:
        """The same, for good: an upload that is under way goes on over the session that takes this one's place."""
        self._closed = True
        self.retire()

    def close(self) -> None:
        """Close at once; requests that wait fail."""
        self._closed = True
        if self._connection is not None:
            self._connection.fail(TransportError(Fault.LOST))

    async def _usable(self) -> MultiplexedConnection:
        """The connection in use, or a new one; all that wait for a new one share it, or the failure to open it."""
        if self._connection is not None and self._connection.is_usable and self._opening is None:
            return self._connection
        if self._opening is None:
            self.retire()
            self._opening = asyncio.ensure_future(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def _open(self) -> MultiplexedConnection:
        """A connection to the host's next address.

        Raises:
            Retry: there is none now; one failure of many that wait for it is one failure of the address.
        """
        await asyncio.get_running_loop().run_in_executor(None, self._addresses.resolve)
        if self._closed:
            raise Retry(Fault.LOST.value)
        self._connection = MultiplexedConnection(self._context, self._addresses.current, self._new_channel())
        try:
            async with asyncio.timeout(self._timeouts.try_s):
                await self._connection.open(self._addresses.connect_s(self._timeouts.connect_s))
        except TimeoutError:
            raise self._addresses.failed(Fault.SILENT, was_up=self._connection.is_up) from None
        except TransportError as error:
            raise self._addresses.failed(error.fault, was_up=self._connection.is_up) from None
        except TrustError as error:
            raise proven(error, more_addresses=self._addresses.move_on()) from None
        except Retry as retry:
            if retry.limit is not None:
                self._addresses.move_on()
            raise
        return self._connection

    def _opened(self, opening: asyncio.Task[MultiplexedConnection]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # those who waited have it; it is no news where they all have gone
