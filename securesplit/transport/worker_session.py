"""One worker as a blocking client sees it: a REQ connection, and the session over it.

Every way in which an exchange can fail becomes a `Retry`, which says when and where to try again (`retry_policy.py`).

A connection is never repaired. After a `TransportError` its session closes it and opens another one (the Lazy Pirate of
the ZeroMQ guide, chapter 4). A session outlives its connection: after a reconnect the same keys are used, and a worker
that has forgotten them says so.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeVar

import zmq

from securesplit import tracing
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import HandshakeReady, Refused, Reply
from securesplit.channel.frames import FrameError
from securesplit.channel.states import ClientState
from securesplit.errors import SecureSplitError, TrustError
from securesplit.pki.credentials import Credentials
from securesplit.transport.addresses import Addresses
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.retry_policy import Retry, ends_session, proven, refused
from securesplit.transport.sockets import WORKER, client_socket, require_descriptors
from securesplit.transport.wire import DOWN, MONITOR_EVENT, WATCHED, Fault, TransportError, Wire

_EventT = TypeVar("_EventT", HandshakeReady, Reply)
_AnswerT = TypeVar("_AnswerT")
_CHUNKS = 64  # read before time and connection are looked at again


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was answered.

    Attributes:
        plaintext: the answer.
        frame: the frame that carried the request, as sent.
    """

    plaintext: bytes
    frame: bytes


class ReqConnection:
    """A connection that is being opened to one address.

    Args:
        context: makes the sockets.
        address: of the worker; no name, see `Endpoint.resolve`.
        connect_timeout_s: how long the connection itself may take.

    Raises:
        ConfigError: this process may open no more files.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: Endpoint,
        *,
        connect_timeout_s: float,
    ) -> None:
        require_descriptors()
        self._up_by = time.monotonic() + connect_timeout_s
        self._wire = Wire(b"REQ")
        self._unsent, self._down = b"", False
        self._socket = client_socket(context, ipv6=address.is_ipv6)
        self._monitor = self._socket.get_monitor_socket(WATCHED)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._socket.connect(str(address))
        self._flush()

    @property
    def is_up(self) -> bool:
        """Whether the other end has spoken ZMTP."""
        return self._wire.is_up

    def is_alive(self) -> bool:
        """Whether another message may be sent; drops what came since the last answer, which is none to what comes next.

        A worker ends a connection over which nothing was said for a minute, since nobody answers its PINGs meanwhile.
        """
        if self._wire.is_stale:
            return False
        try:
            while self._wire.next_message() is not None or int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                self._read()
        except TransportError:
            return False
        return not self._is_down()

    def establish(self, timeout_s: float) -> None:
        """Wait until the other end has spoken ZMTP, so that what is sent next leaves this device.

        Args:
            timeout_s: how long that may take, and no longer than the connection may take as a whole.

        Raises:
            TransportError: as `exchange`.
        """
        end = min(self._up_by, time.monotonic() + timeout_s)
        while not self._wire.is_up:
            is_down = self._wait(end)
            self._read()
            if is_down:
                raise TransportError(self._wire.lost())

    def exchange(
        self, messages: Sequence[bytes], timeout_s: float, read: Callable[[bytes], _AnswerT | None]
    ) -> _AnswerT:
        """Send messages and wait for what they lead to.

        Args:
            messages: to send, one after the other.
            timeout_s: how long that may take.
            read: what a message that comes means; None where more is waited for.

        Raises:
            TransportError: refused, lost, silent for `timeout_s`, or no worker; the connection must be closed.
        """
        self._unsent = b"".join(self._wire.announce(len(message)) + message for message in messages)
        self._flush()
        end = time.monotonic() + timeout_s
        while True:
            is_down = self._wait(end if self._wire.is_up else min(end, self._up_by))
            while (came := self._read()) is not None:
                if (answer := read(came)) is not None:
                    return answer
            if is_down:
                raise TransportError(self._wire.lost())

    def close(self) -> None:
        """Close at once; what was not sent yet is dropped."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def _wait(self, end: float) -> bool:
        """Wait until something has come, or raise TransportError; whether the connection has ended."""
        left_s = end - time.monotonic()
        ready = dict(self._poller.poll(max(0, ceil(left_s * 1_000))))
        if not ready or left_s < 0.0:
            raise TransportError(Fault.SILENT)
        return self._monitor in ready and self._is_down()

    def _read(self) -> bytes | None:
        """Take what has come, a bounded number of chunks, up to the end of the next message."""
        for _ in range(_CHUNKS):
            if (message := self._wire.next_message()) is not None:
                return message
            self._flush()
            try:
                _, chunk = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            self._wire.receive(chunk)
        return None

    def _flush(self) -> None:
        """Send what can be sent now. What the other end does not read stays small: a request, and answers to PING."""
        output = self._wire.output()
        if self._wire.is_up:
            output, self._unsent = output + self._unsent, b""
        if output:
            with contextlib.suppress(zmq.ZMQError):  # the end of the connection is told by what is read
                self._socket.send_multipart((WORKER, output), zmq.NOBLOCK)

    def _is_down(self) -> bool:
        while not self._down and int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event, _ = MONITOR_EVENT.unpack(self._monitor.recv_multipart()[0])
            self._down = event in DOWN
        return self._down


class WorkerSession:
    """One endpoint, its connection and its session.

    Args:
        endpoint: of the worker.
        credentials: ours.
        bundle_identity: 32 bytes.
        server_name: the name that the worker's certificate must hold.
        connect_timeout_s: how long opening a connection may take at first (`Addresses.connect_s`).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        bundle_identity: bytes,
        *,
        server_name: str,
        connect_timeout_s: float,
    ) -> None:
        self._channel = ClientChannel(credentials, bundle_identity, server_name)
        self._addresses, self._connect_timeout_s = Addresses(endpoint), connect_timeout_s
        self._connection: ReqConnection | None = None
        self._is_forgotten = False

    def ask(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        requests: Mapping[int, bytes],
        timeout_s: float,
        *,
        before_sending: Callable[[], None],
    ) -> list[Exchange]:
        """One try: connect and shake hands where needed, send the requests, return their answers in the same order.

        Args:
            context: makes the sockets.
            requests: plaintexts by their ids, which are sent together.
            timeout_s: how long the handshake may take, and the answers.
            before_sending: called when the worker has proved who it is and the requests are about to leave; what it
                raises ends the try.

        Raises:
            Retry: it did not work this time.
            ConfigError: this process may open no more files.
        """
        try:
            connection = self._opened(context)
            self._shake_hands(connection, requests, timeout_s)
            connection.establish(timeout_s)  # a session outlives its connection, and a new one may lead to nobody
            before_sending()
            with tracing.stage("seal"):
                frames = {ref: self._channel.request(ref, plaintext) for ref, plaintext in requests.items()}
            with tracing.stage("send"):
                plaintexts = connection.exchange(list(frames.values()), timeout_s, self._collector(frames))
        except TransportError as error:
            was_up = self._connection is not None and self._connection.is_up
            self.disconnect()
            raise self._addresses.failed(error.fault, was_up=was_up) from None
        except (Retry, SecureSplitError):
            raise
        except BaseException:  # a signal's handler may raise anything anywhere; half an exchange cannot be used again
            self.disconnect()
            raise
        return [Exchange(plaintexts[ref], frame) for ref, frame in frames.items()]

    def _collector(self, refs: Collection[int]) -> Callable[[bytes], dict[int, bytes] | None]:
        """What reads answers until there is one to each of these requests."""
        found: dict[int, bytes] = {}

        def read(data: bytes) -> dict[int, bytes] | None:
            if (event := self._read(Reply, data, refs)) is not None:
                found[event.ref] = event.plaintext
            return found if len(found) == len(refs) else None

        return read

    @property
    def stands(self) -> bool:
        """Whether it has answered, over a connection that is not known to have ended."""
        return self._connection is not None and self._channel.state is ClientState.OPEN and not self._is_forgotten

    def disconnect(self) -> None:
        """Close the connection and keep the session."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection and forget the session."""
        self.disconnect()
        self._channel.close()

    def _opened(self, context: zmq.Context[zmq.Socket[bytes]]) -> ReqConnection:
        """The connection that is there, or one to an address of the host, the one that worked last if there is one."""
        if self._connection is not None and self._connection.is_alive():
            return self._connection
        self.disconnect()
        self._addresses.resolve()
        timeout_s, where = self._addresses.connect_s(self._connect_timeout_s), self._addresses.current
        self._connection = ReqConnection(context, where, connect_timeout_s=timeout_s)
        return self._connection

    def _shake_hands(self, connection: ReqConnection, refs: Collection[int], timeout_s: float) -> None:
        """Make a session, where there is none that can still be used for all of them."""
        is_new = self._is_forgotten or self._channel.state is ClientState.FINISHING
        if not is_new and self._channel.bears(len(refs)):
            return
        self._is_forgotten = True
        with tracing.stage("handshake"):
            connection.exchange([self._channel.hello()], timeout_s, lambda data: self._read(HandshakeReady, data, refs))
        self._is_forgotten = False

    def _read(self, kind: type[_EventT], data: bytes, refs: Collection[int]) -> _EventT | None:
        """The event that is waited for; None for what verifies as nothing, or concerns another request.

        Raises:
            Retry: one of these requests, or the handshake, was refused.
        """
        try:
            event = self._channel.receive(data)
        except FrameError:
            return None  # nothing has changed
        except TrustError as error:
            self.disconnect()
            raise proven(error, more_addresses=self._addresses.move_on()) from None
        if isinstance(event, Refused):
            if kind is Reply and event.ref not in refs:
                return None
            raise self._refused(event)
        if isinstance(event, Reply) and event.ref not in refs:
            return None
        return event if isinstance(event, kind) else None

    def _refused(self, refusal: Refused) -> Retry:
        retry = refused(refusal, known=self._channel.state is ClientState.OPEN)
        self._is_forgotten = self._is_forgotten or ends_session(refusal)
        return retry if retry.at_once or retry.limit is None else self._leave(retry)

    def _leave(self, retry: Retry) -> Retry:
        """Let the next address of the host be tried, for what is there may be somebody else."""
        if self._addresses.move_on():
            self.disconnect()
        return retry
