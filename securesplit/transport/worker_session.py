"""One worker as a client sees it: a connection, the channel over it, and what its answers mean for the next try.

Every way in which an exchange can fail becomes a `Retry`, which says when and where to try again (`retry_policy.py`). A
session outlives its connection: after a reconnect the same keys are used, and a worker that has forgotten them says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import zmq

from securesplit import tracing
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import HandshakeReady, Refused, Reply
from securesplit.channel.frames import FrameError
from securesplit.channel.states import ClientState
from securesplit.errors import SecureSplitError, TrustError, UnreachableError
from securesplit.pki.credentials import Credentials
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.req_connection import Fault, ReqConnection, TransportError
from securesplit.transport.retry_policy import Retry, ends_session, proven, refused
from securesplit.transport.sockets import SocketLimits

_EventT = TypeVar("_EventT", HandshakeReady, Reply)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was answered.

    Attributes:
        plaintext: the answer.
        frame: the frame that carried the request, as sent.
    """

    plaintext: bytes
    frame: bytes


class Addresses:
    """The addresses of one endpoint's host: where one is absent the next is tried.

    Args:
        endpoint: of the worker.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._found: list[Endpoint] = []
        self._turn = 0

    def resolve(self) -> None:
        """Look the host's name up, where that was not done yet; may block for as long as the system does.

        Raises:
            Retry: the name has no address.
        """
        try:
            self._found = self._found or self._endpoint.resolve()
        except UnreachableError as error:
            raise Retry(error.message, elsewhere=True, absent=True, nowhere=error) from None

    @property
    def current(self) -> Endpoint:
        """The one that worked last, or the next to be tried."""
        return self._found[self._turn % len(self._found)]

    def failed(self, fault: Fault) -> Retry:
        """What to do after a connection to `current` failed."""
        absent = fault in (Fault.REFUSED, Fault.STRANGER)
        left = fault is not Fault.LOST and self.move_on()
        more = absent and left
        return Retry(fault.value, elsewhere=not more, absent=absent, at_once=more)

    def move_on(self) -> bool:
        """Let the next address be tried; False where each has had its turn."""
        self._turn += 1
        return self._turn % len(self._found) != 0


class WorkerSession:
    """One endpoint, its connection and its session.

    Args:
        endpoint: of the worker.
        credentials: ours.
        bundle_identity: 32 bytes.
        server_name: the name that the worker's certificate must hold.
        limits: bounds on what the worker may send.
        connect_timeout_s: how long opening a connection may take.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        bundle_identity: bytes,
        *,
        server_name: str,
        limits: SocketLimits,
        connect_timeout_s: float,
    ) -> None:
        self._channel = ClientChannel(credentials, bundle_identity, server_name)
        self._limits, self._connect_timeout_s = limits, connect_timeout_s
        self._addresses = Addresses(endpoint)
        self._connection: ReqConnection | None = None
        self._forgotten = False

    def ask(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        ref: int,
        plaintext: bytes,
        timeout_s: float,
        *,
        before_sending: Callable[[], None],
    ) -> Exchange:
        """One try: connect and shake hands where needed, send the request, return the answer.

        Args:
            context: makes the sockets.
            ref: the request's id.
            plaintext: the request.
            timeout_s: how long each answer may take.
            before_sending: called when the worker has proved who it is and the request is about to leave; what it
                raises ends the try.

        Raises:
            Retry: it did not work this time.
            ConfigError: this process may open no more files.
        """
        try:
            if self._connection is not None and not self._connection.is_alive():
                self.disconnect()
            connection = self._connection = self._connection or self._open(context)
            if self._forgotten or self._channel.needs_new_handshake or self._channel.state is ClientState.FINISHING:
                self._forgotten = True
                with tracing.stage("handshake"):
                    connection.exchange(
                        self._channel.hello(), timeout_s, lambda data: self._read(HandshakeReady, data, ref)
                    )
                self._forgotten = False
            connection.establish(timeout_s)  # a session outlives its connection, and a new one may lead to nobody
            before_sending()
            with tracing.stage("seal"):
                frame = self._channel.request(ref, plaintext)
            with tracing.stage("send"):
                event = connection.exchange(frame, timeout_s, lambda data: self._read(Reply, data, ref))
        except TransportError as error:
            self.disconnect()
            raise self._addresses.failed(error.fault) from None
        except (Retry, SecureSplitError):
            raise
        except BaseException:  # a signal's handler may raise anything anywhere; half an exchange cannot be used again
            self.disconnect()
            raise
        return Exchange(event.plaintext, frame)

    def disconnect(self) -> None:
        """Close the connection and keep the session."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection and forget the session."""
        self.disconnect()
        self._channel.close()

    def _open(self, context: zmq.Context[zmq.Socket[bytes]]) -> ReqConnection:
        """Connect to one of the host's addresses, the one that worked last if there is one."""
        self._addresses.resolve()
        timeout_s = self._connect_timeout_s
        return ReqConnection(context, self._addresses.current, connect_timeout_s=timeout_s, limits=self._limits)

    def _read(self, kind: type[_EventT], data: bytes, ref: int) -> _EventT | None:
        """The event that is waited for; None for what verifies as nothing, or concerns another request.

        Raises:
            Retry: this request, or the handshake, was refused.
        """
        try:
            event = self._channel.receive(data)
        except FrameError:
            return None  # nothing has changed
        except TrustError as error:
            self.disconnect()
            raise proven(error, more_addresses=self._addresses.move_on()) from None
        if isinstance(event, Refused):
            if kind is Reply and event.ref != ref:
                return None
            raise self._refused(event)
        if isinstance(event, Reply) and event.ref != ref:
            return None
        return event if isinstance(event, kind) else None

    def _refused(self, refusal: Refused) -> Retry:
        retry = refused(refusal, known=self._channel.state is ClientState.OPEN)
        self._forgotten = self._forgotten or ends_session(refusal)
        return retry if retry.at_once or retry.limit is None else self._leave(retry)

    def _leave(self, retry: Retry) -> Retry:
        """Let the next address of the host be tried, for what is there may be somebody else."""
        if self._addresses.move_on():
            self.disconnect()
        return retry
