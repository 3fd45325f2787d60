"""One session over one TCP connection for asyncio: many requests in flight, each answered when it is done.

The same frames as a `WorkerSession` sends, as a DEALER in place of a REQ, so that a request need not wait for the
answer to the one before. A connection is never repaired: after a failure everything that waits on it is told, and its
owner opens another one. A request that is cancelled leaves nothing behind: its answer or its refusal, like a duplicate
or one that was forged, is dropped when it comes, since nobody waits for it. A refusal in clear text concerns the one
request that it names; the others keep waiting.

All of it belongs to one event loop. What blocks the loop is the handshake's own arithmetic, 1 to 2 ms a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from math import inf
from typing import Any

import zmq
import zmq.asyncio

from securesplit import tracing
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import HandshakeReady, Refused, Reply
from securesplit.channel.frames import FrameError
from securesplit.channel.states import ClientState
from securesplit.errors import TrustError
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.retry_policy import Retry, ends_session, refused
from securesplit.transport.sockets import WORKER, client_socket, require_descriptors
from securesplit.transport.wire import DOWN, MONITOR_EVENT, WATCHED, Fault, TransportError, Wire
from securesplit.transport.worker_session import Exchange

_Moment = asyncio.Future[None]
_HANDSHAKE = {ClientState.IDLE, ClientState.HELLO_SENT}


class MultiplexedConnection:
    """A connection and a session of its own; `open` makes one.

    Args:
        context: makes the sockets.
        address: of the worker; no name, see `Endpoint.resolve`.
        channel: fresh.

    Attributes:
        heard_s: when the last answer that verified came, by ``time.monotonic``; -inf before the first.
        doubted_s: when a request was last given up in silence, likewise.
    """

    def __init__(self, context: zmq.asyncio.Context, address: Endpoint, channel: ClientChannel) -> None:
        require_descriptors()
        self._channel = channel
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._moment: _Moment | None = asyncio.get_running_loop().create_future()
        self._up = self._retired = self._closed = False
        self.heard_s = self.doubted_s = -inf
        self._wire = Wire(b"DEALER")
        self._socket = client_socket(context, ipv6=address.is_ipv6)
        self._monitor: zmq.asyncio.Socket = self._socket.get_monitor_socket(WATCHED)
        self._tasks = [asyncio.ensure_future(self._read()), asyncio.ensure_future(self._watch())]
        self._socket.connect(str(address))
        self._push(self._wire.output())

    async def open(self, connect_timeout_s: float) -> None:
        """Wait for the connection, then for the worker's half of the handshake.

        Raises:
            TransportError: the connection failed.
            Retry: the worker has no time for a handshake now.
            TrustError: one side refused the other.
        """
        try:
            try:
                async with asyncio.timeout(connect_timeout_s):
                    await self._next()
            except TimeoutError:
                raise TransportError(Fault.SILENT) from None
            if self._closed:  # the connection ended before this task was told that it was up
                raise TransportError(Fault.LOST)
            self._moment = asyncio.get_running_loop().create_future()
            self._send(self._channel.hello())
            await self._next()
        except BaseException:
            self.close()
            raise

    @property
    def is_up(self) -> bool:
        """Whether the other end has spoken ZMTP."""
        return self._wire.is_up

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent."""
        return not (self._closed or self._retired or self._channel.needs_new_handshake or self._wire.is_stale)

    async def ask(self, ref: int, plaintext: bytes) -> Exchange:
        """Send a request and wait for its answer.

        Raises:
            TransportError: the connection was lost.
            Retry: the worker refused it, or the session is used up.
            TrustError: one side refused the other.
        """
        if self._closed:
            raise TransportError(Fault.LOST)
        if not self.is_usable:
            self.retire()
            raise Retry("the session was used up", at_once=True)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[ref] = answer
        try:
            with tracing.stage("seal"):
                frame = self._channel.request(ref, plaintext)
            with tracing.stage("send"):
                self._send(frame)
                return Exchange(await answer, frame)
        finally:
            self._waiting.pop(ref, None)
            if self._retired and not self._waiting:
                self.close()

    def doubt(self, since_s: float) -> None:
        """A request that was sent at `since_s` was given up, and nothing has been heard since.

        After the first time it is sent again here, where a worker that is only slow has its answer; a second one, begun
        after that, says that the connection is dead.
        """
        if self.heard_s < self.doubted_s <= since_s:
            self.retire()
        else:
            self.doubted_s = time.monotonic()

    def retire(self) -> None:
        """Take no more requests, and close once the last answer has come."""
        self._retired = True
        if not self._waiting and self._moment is None:
            self.close()

    def fail(self, error: Exception) -> None:
        """Tell everyone who waits, and close."""
        if self._moment is not None and not self._moment.done():
            self._moment.set_exception(error)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
        self.close()

    def close(self) -> None:
        """Close at once and forget the session."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._channel.close()

    async def _next(self) -> None:
        assert self._moment is not None  # noqa: S101 - set by who waits
        try:
            await self._moment
        finally:
            self._moment = None

    def _arrived(self) -> None:
        if self._moment is not None and not self._moment.done():
            self._moment.set_result(None)

    def _send(self, frame: bytes) -> None:
        self._push(self._wire.announce(len(frame)) + frame)

    def _push(self, data: bytes) -> None:
        """Send without waiting; what the socket does not take at once its own future sends later."""
        if data:
            sent = asyncio.ensure_future(self._socket.send_multipart((WORKER, data)))
            sent.add_done_callback(_leave_to_the_reader)

    async def _read(self) -> None:
        """Hand what the worker says to those who wait for it, until the connection is closed."""
        with contextlib.suppress(asyncio.CancelledError, zmq.ZMQError):
            while not self._closed:
                _, chunk = await self._socket.recv_multipart()
                try:
                    self._take(chunk)
                except TransportError as error:
                    self.fail(error)

    def _take(self, chunk: bytes) -> None:
        """Read a chunk.

        Raises:
            TransportError: the connection has ended, or the other end is not a worker.
        """
        self._wire.receive(chunk)
        while not self._closed and (message := self._wire.next_message()) is not None:
            self._receive(message)
        if self._closed:
            return
        self._push(self._wire.output())
        if self._wire.is_up and not self._up:
            self._up = True
            self._arrived()

    def _receive(self, data: bytes) -> None:
        try:
            event = self._channel.receive(data)
        except FrameError:
            return  # nothing has changed; a request whose answer this was is sent again when its time is up
        except TrustError as error:
            self.fail(error)
            return
        match event:
            case HandshakeReady():
                self._arrived()
            case Reply():
                self.heard_s = time.monotonic()
                answer = self._waiting.get(event.ref)
                if answer is not None and not answer.done():
                    answer.set_result(event.plaintext)
            case Refused():
                self._refused(event)

    def _refused(self, refusal: Refused) -> None:
        retry = refused(refusal, known=self._channel.state is ClientState.OPEN)
        waiting = self._moment if self._channel.state in _HANDSHAKE else self._waiting.get(refusal.ref)
        if waiting is None or waiting.done():
            return
        waiting.set_exception(retry)
        if ends_session(refusal):
            self.retire()

    async def _watch(self) -> None:
        """Notice that there is no connection, or no more."""
        with contextlib.suppress(asyncio.CancelledError, zmq.ZMQError):
            while not self._closed:
                event, _ = MONITOR_EVENT.unpack((await self._monitor.recv_multipart())[0])
                if event in DOWN:
                    self.fail(TransportError(self._wire.lost()))


def _leave_to_the_reader(sent: asyncio.Future[Any]) -> None:
    """That the other end has gone is told by what is read; an error that nobody fetches would be logged."""
    if not sent.cancelled():
        sent.exception()
