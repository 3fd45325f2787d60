"""One TCP connection of a client: a REQ socket and the monitor that tells at once when it cannot be, or is no more.

A link is never repaired. After a `LinkError` its owner closes it and opens another one, since a REQ socket that waits
for an answer that was lost can do nothing else (the Lazy Pirate of the ZeroMQ guide, chapter 4).
"""

from __future__ import annotations

import enum
import struct
import time
from math import ceil

import zmq

from securesplit.transport.endpoint import Endpoint
from securesplit.transport.sockets import Limits, request_socket, require_descriptors

MONITOR_EVENT = struct.Struct("=hi")
DOWN = {
    zmq.EVENT_CLOSED,
    zmq.EVENT_DISCONNECTED,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
}
WATCHED = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | sum(DOWN)


class Fault(enum.Enum):
    """Why a link is of no more use."""

    REFUSED = "nothing listens there"
    STRANGER = "what listens there is no worker"
    LOST = "the connection was lost"
    SILENT = "no answer came"


class LinkError(Exception):
    """The link is of no more use.

    Args:
        fault: what happened.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Link:
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
        self, context: zmq.Context[zmq.Socket[bytes]], address: Endpoint, *, connect_timeout_s: float, limits: Limits
    ) -> None:
        require_descriptors()
        self._up_by = time.monotonic() + connect_timeout_s
        self._connected = self._up = False
        self._socket = request_socket(context, limits, ipv6=address.is_ipv6)
        self._monitor = self._socket.get_monitor_socket(WATCHED)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._socket.connect(str(address))

    def exchange(self, message: bytes, timeout_s: float) -> bytes:
        """Send a message and wait for its answer.

        Raises:
            LinkError: refused, lost, or silent for `timeout_s`; the link must be closed.
        """
        self._watch()
        self._socket.send(message, zmq.NOBLOCK)
        end = time.monotonic() + timeout_s
        while True:
            until = end if self._up else min(end, self._up_by)
            ready = dict(self._poller.poll(max(0, ceil((until - time.monotonic()) * 1_000))))
            if self._socket in ready:
                return b"".join(self._socket.recv_multipart(zmq.NOBLOCK))
            if not ready:
                raise LinkError(Fault.SILENT)
            self._watch()

    def close(self) -> None:
        """Close at once; what was not sent yet is dropped."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def _watch(self) -> None:
        while self._monitor.poll(0):
            event, _ = MONITOR_EVENT.unpack(self._monitor.recv_multipart()[0])
            if event in DOWN:
                raise LinkError(Fault.LOST if self._up else Fault.STRANGER if self._connected else Fault.REFUSED)
            self._connected = True
            self._up = self._up or event == zmq.EVENT_HANDSHAKE_SUCCEEDED
