"""One TCP connection of a client that speaks as a REQ, and the monitor that tells at once when it cannot be.

A connection is never repaired. After a `TransportError` its owner closes it and opens another one (the Lazy Pirate of
the ZeroMQ guide, chapter 4). What the other end sends is bounded while it arrives (`zmtp`), and it has authenticated
nothing yet.
"""

from __future__ import annotations

import contextlib
import enum
import struct
import time
from collections.abc import Callable
from math import ceil
from typing import TypeVar

import zmq

from securesplit.transport import zmtp
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.sockets import WORKER, SocketLimits, client_socket, require_descriptors
from securesplit.transport.zmtp import ZmtpError

_AnswerT = TypeVar("_AnswerT")
_DELIMITER = zmtp.header(0, more=True)  # the empty part that a REQ puts before its message
MONITOR_EVENT = struct.Struct("=hi")
DOWN = {zmq.EVENT_CLOSED, zmq.EVENT_DISCONNECTED}
WATCHED = sum(DOWN)
_UNASKED = 64  # messages that are ignored: somebody on the wire can add some, and should gain nothing by it
_CHUNKS = 64  # read before time and connection are looked at again


class Fault(enum.Enum):
    """Why a connection is unusable."""

    REFUSED = "nothing listens there"
    STRANGER = "what listens there is not a worker"
    LOST = "the connection was lost"
    SILENT = "no answer came"


class TransportError(Exception):
    """The connection is unusable.

    Args:
        fault: what happened.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Wire:
    """A client's bytes: what both kinds of client have in common, without any I/O.

    Args:
        kind: our socket type, ``REQ`` or ``DEALER``.
        limits: bounds on what the worker may send.
    """

    def __init__(self, kind: bytes, limits: SocketLimits) -> None:
        self._zmtp = zmtp.Connection(kind, (b"REP", b"ROUTER"), limits.max_message_bytes)
        self._connected = False
        self._unanswered = 0

    @property
    def is_up(self) -> bool:
        """Whether messages may be sent."""
        return self._zmtp.is_ready

    def output(self) -> bytes:
        """Return, once, what must be sent now."""
        return self._zmtp.output()

    def announce(self, size: int) -> bytes:
        """The bytes to send before a message of `size` bytes, which may be answered once."""
        self._unanswered += 1
        return _DELIMITER + zmtp.header(size)

    def receive(self, chunk: bytes) -> None:
        """Take a chunk of the socket's; an empty one says that the connection begins or ends.

        Raises:
            TransportError: it ends.
        """
        if chunk:
            self._zmtp.receive(chunk, time.monotonic())
        elif self._connected:
            raise TransportError(self.lost())
        else:
            self._connected = True

    def next_message(self) -> bytes | None:
        """The body of the next message that has come whole, or None.

        Raises:
            TransportError: the other end breaks the protocol, exceeds a bound, or says much that nobody asked for.
        """
        try:
            parts = self._zmtp.next_message()
        except ZmtpError:
            raise TransportError(Fault.STRANGER) from None
        if parts is None:
            return None
        self._unanswered -= 1
        if self._unanswered < -_UNASKED:
            raise TransportError(Fault.STRANGER)
        return parts[-1]

    def lost(self) -> Fault:
        """Why a connection that has ended is unusable."""
        if self.is_up:
            return Fault.LOST
        return Fault.STRANGER if self._connected else Fault.REFUSED


class ReqConnection:
    """A connection that is being opened to one address.

    Args:
        context: makes the sockets.
        address: of the worker; no name, see `Endpoint.resolve`.
        connect_timeout_s: how long the connection itself may take.
        limits: bounds on what the worker may send.

    Raises:
        ConfigError: this process may open no more files.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: Endpoint,
        *,
        connect_timeout_s: float,
        limits: SocketLimits,
    ) -> None:
        require_descriptors()
        self._up_by = time.monotonic() + connect_timeout_s
        self._wire = Wire(b"REQ", limits)
        self._unsent, self._down = b"", False
        self._socket = client_socket(context, ipv6=address.is_ipv6)
        self._monitor = self._socket.get_monitor_socket(WATCHED)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._socket.connect(str(address))
        self._flush()

    def is_alive(self) -> bool:
        """Whether another message may be sent; drops what came since the last answer, which is none to what comes next.

        A worker ends a connection over which nothing was said for a minute, since nobody answers its PINGs meanwhile.
        """
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

    def exchange(self, message: bytes, timeout_s: float, read: Callable[[bytes], _AnswerT | None]) -> _AnswerT:
        """Send a message and wait for its answer.

        Args:
            message: to send.
            timeout_s: how long the answer may take.
            read: what a message means; None where it is not an answer to this one, which is waited for on.

        Raises:
            TransportError: refused, lost, silent for `timeout_s`, or no worker; the connection must be closed.
        """
        self._unsent = self._wire.announce(len(message)) + message
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
