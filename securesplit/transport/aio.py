"""The client's connection for asyncio: as `client.Connection`, with many requests in flight over one session.

Deadline, retries with the same request id, pauses and fail-over are those of `course.py`. Cancelling a request, or
giving it a timeout of its own, leaves the session as it is for the others.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import zmq.asyncio
from numpy.typing import NDArray

from securesplit.channel import tensor
from securesplit.channel.client import ClientChannel
from securesplit.channel.credentials import Credentials
from securesplit.errors import UnreachableError
from securesplit.transport import answer
from securesplit.transport.answer import Answer
from securesplit.transport.course import Attempts, Course, Patience
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.line import Line
from securesplit.transport.link import Fault, LinkError
from securesplit.transport.peer import Addresses, Exchange, Retry
from securesplit.transport.sockets import Limits, require_descriptors

IN_FLIGHT = 8  # what a worker takes of one session at once


class AsyncConnection:
    """A client's connection to one of several workers, for one event loop.

    Args:
        endpoints: ``tcp://HOST:PORT`` of workers that hold the same bundle; the next one is tried where one fails.
        credentials: the client's.
        bundle_identity: 32 bytes; both sides must hold the same bundle.
        timeout_s: seconds from a request's start until it is given up.
        server_name: the name that the worker's certificate must hold; None: the host of each endpoint.
        patience: all waiting times, where `timeout_s` is not enough.

    Raises:
        ConfigError: there is no endpoint, or one has another form.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        credentials: Credentials,
        bundle_identity: bytes,
        *,
        timeout_s: float = 30.0,
        server_name: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._patience = patience or Patience(total_s=timeout_s)
        self._course = Course(endpoints, self._patience)
        self._credentials, self._identity, self._server_name = credentials, bundle_identity, server_name
        self._refs = itertools.count(1)
        self._turns = asyncio.Semaphore(IN_FLIGHT)
        require_descriptors()
        self._context = zmq.asyncio.Context()
        self._peers = self._new_peers()

    async def request(self, release: NDArray[Any]) -> Answer:
        """Have one release computed.

        Args:
            release: a preset's shape and integer dtype.

        Raises:
            UnreachableError: no worker answered in time, nothing listens at any endpoint, or the connection was closed.
            TrustError: one side refused the other; nothing is repeated.
            WorkerError: the worker cannot compute this request.
        """
        body, start = tensor.encode(release), time.perf_counter()
        exchange = await self._persist(next(self._refs), body, Attempts(self._patience))
        logit, tail_ms = answer.read(exchange.plaintext)
        round_trip_ms = (time.perf_counter() - start) * 1_000
        return Answer(logit, tail_ms, round_trip_ms, answer.payload_bytes(body), exchange.frame)

    def renew(self, credentials: Credentials) -> None:
        """Use other credentials from the next request on; sessions under the old ones end with their last answer."""
        self._credentials = credentials
        for peer in self._peers:
            peer.retire()
        self._peers = self._new_peers()

    async def close(self) -> None:
        """End all sessions; requests that still wait raise UnreachableError."""
        if not self._context.closed:
            for peer in self._peers:
                peer.close()
            await asyncio.sleep(0)  # those that waited are told before the sockets' context goes
            self._context.destroy(linger=0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _new_peers(self) -> list[_Peer]:
        return [self._peer(endpoint) for endpoint in self._course.endpoints]

    def _peer(self, endpoint: Endpoint) -> _Peer:
        credentials, name = self._credentials, self._server_name or endpoint.host
        return _Peer(
            self._context, endpoint, lambda: ClientChannel(credentials, self._identity, name), self._patience.connect_s
        )

    async def _persist(self, ref: int, body: bytes, attempts: Attempts) -> Exchange:
        """Wait for a turn, then try until there is an answer, a final error, or no time."""
        try:
            async with asyncio.timeout(attempts.deadline.left_s):
                await self._turns.acquire()
        except TimeoutError:
            hint = "ask for less at once, or wait longer"
            raise UnreachableError("other requests of this client took all the time", hint=hint) from None
        try:
            return await self._try(ref, body, attempts)
        finally:
            self._turns.release()

    async def _try(self, ref: int, body: bytes, attempts: Attempts) -> Exchange:
        while True:
            if self._context.closed:
                raise UnreachableError("the connection was closed", hint="keep it open until the last answer")
            tried = self._course.current
            plaintext = answer.request(attempts.budget_ms, body)
            try:
                exchange = await self._peers[tried].ask(ref, plaintext, attempts.try_s)
            except Retry as retry:
                await asyncio.sleep(self._course.failed(retry, tried, attempts))
            else:
                self._course.succeeded()
                return exchange


class _Peer:
    """One endpoint and the line to it that is in use.

    Args:
        context: makes the sockets.
        endpoint: of the worker.
        new_channel: makes a channel for a session.
        connect_timeout_s: how long opening a connection may take.
    """

    def __init__(
        self,
        context: zmq.asyncio.Context,
        endpoint: Endpoint,
        new_channel: Callable[[], ClientChannel],
        connect_timeout_s: float,
    ) -> None:
        self._context, self._new_channel, self._connect_timeout_s = context, new_channel, connect_timeout_s
        self._addresses = Addresses(endpoint)
        self._line: Line | None = None
        self._opening: asyncio.Task[Line] | None = None

    async def ask(self, ref: int, plaintext: bytes, timeout_s: float) -> Exchange:
        """One try.

        Raises:
            Retry: it did not work this time.
            TrustError: one side refused the other.
            WorkerError: the worker cannot compute this request.
        """
        line: Line | None = None
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._usable(timeout_s)
                return await line.ask(ref, plaintext)
        except TimeoutError:
            if line is not None:
                line.fail(LinkError(Fault.SILENT))
            raise Retry(Fault.SILENT.value, elsewhere=True) from None
        except LinkError as error:
            raise self._addresses.failed(error.fault) from None

    def retire(self) -> None:
        """Take no more requests; those that wait are answered."""
        if self._line is not None:
            self._line.retire()

    def close(self) -> None:
        """Close at once; requests that wait fail."""
        if self._line is not None:
            self._line.fail(LinkError(Fault.LOST))

    async def _usable(self, timeout_s: float) -> Line:
        """The line in use, or a new one; all that wait for a new one share it, or the failure to open it."""
        if self._line is not None and self._line.is_usable and self._opening is None:
            return self._line
        if self._opening is None:
            self.retire()
            self._opening = asyncio.ensure_future(self._open(timeout_s))
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def _open(self, timeout_s: float) -> Line:
        await asyncio.get_running_loop().run_in_executor(None, self._addresses.resolve)
        self._line = Line(self._context, self._addresses.current, self._new_channel(), limits=Limits())
        try:
            async with asyncio.timeout(timeout_s):
                await self._line.open(self._connect_timeout_s)
        except TimeoutError:
            raise LinkError(Fault.SILENT) from None
        return self._line

    def _opened(self, opening: asyncio.Task[Line]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # those who waited have it; it is no news where they all have gone
