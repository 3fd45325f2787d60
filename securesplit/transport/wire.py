"""A client's side of ZMTP, which both kinds of client connection speak; and why a connection is unusable.

No I/O: sockets are for those who use it. What the other end sends is bounded while it arrives (`zmtp`), and it has
authenticated nothing yet.
"""

from __future__ import annotations

import enum
import struct
import sys
import time

import zmq

from securesplit.i18n import gettext_noop
from securesplit.transport import zmtp
from securesplit.transport.sockets import SocketLimits
from securesplit.transport.zmtp import ZmtpError

MONITOR_EVENT = struct.Struct("=hi")
DOWN = {zmq.EVENT_CLOSED, zmq.EVENT_DISCONNECTED}
WATCHED = sum(DOWN)
"""What a socket's monitor says of a connection that failed or has ended."""
_DELIMITER = zmtp.header(0, more=True)  # the empty part that a REQ puts before its message
_BEATS = 3  # after so many unanswered PINGs a worker ends a connection
_UNASKED = 64  # messages that are ignored: somebody on the wire can add some, and should gain nothing by it


def elapsed_s() -> float:
    """Seconds, rising; those in which the machine slept count, too, on Linux, macOS and Windows."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


class Fault(enum.Enum):
    """Why a connection is unusable."""

    REFUSED = gettext_noop("nothing listens there")
    STRANGER = gettext_noop("what listens there is not a worker")
    LOST = gettext_noop("the connection was lost")
    SILENT = gettext_noop("no answer came")


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
    """

    def __init__(self, kind: bytes) -> None:
        limits = SocketLimits()
        self._zmtp = zmtp.Connection(kind, (b"REP", b"ROUTER"), limits.max_message_bytes)
        self._connected = False
        self._unanswered = 0
        self._silence_s, self._heard_s = _BEATS * limits.heartbeat_s, elapsed_s()

    @property
    def is_up(self) -> bool:
        """Whether messages may be sent."""
        return self._zmtp.is_ready

    @property
    def is_stale(self) -> bool:
        """Whether nothing has come for so long, not even a PING, that the worker has ended the connection.

        A machine that slept, or changed its network, may never hear of that end: what is sent then meets nobody.
        """
        return elapsed_s() - self._heard_s > self._silence_s

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
        self._heard_s = elapsed_s()
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
