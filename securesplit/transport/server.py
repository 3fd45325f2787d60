"""The front's socket towards the clients: one message in, who sent it, one message back.

Clients are REQ sockets, so a message is ``[routing id, (request id,) empty, body]``. What has another form is dropped
here, and so is what comes from a peer without an address. The envelope is kept as the *route* of the answer. Sending
never blocks: a peer that does not read loses its answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import zmq

from securesplit.errors import ConfigError, UnreachableError
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.sockets import Limits, front_socket, new_context

_MAX_PARTS = 4


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of a client.

    Attributes:
        route: the envelope to answer with.
        address: the peer's IP address.
        body: the message itself.
    """

    route: tuple[bytes, ...]
    address: str
    body: bytes


class FrontSocket:
    """A bound ROUTER.

    Args:
        bind: ``tcp://HOST:PORT``; host ``*`` listens everywhere, port 0 lets the system choose.
        limits: bounds on what peers may do.

    Raises:
        ConfigError: the address cannot be bound, or this process may open no more files.
    """

    def __init__(self, bind: str, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._open(_address_of(bind))

    def _open(self, address: Endpoint) -> None:
        self._context = new_context()
        self._socket = front_socket(self._context, self._limits, ipv6=address.is_ipv6)
        try:
            self._socket.bind(str(address))
        except zmq.ZMQError as error:
            self.close()
            hint = "another program may listen there; choose another port, or 0 for a free one"
            raise ConfigError(f"cannot listen on {address} ({error.strerror})", hint=hint) from None

    def reopen(self) -> None:
        """Drop all connections and what came in over them, and listen again at the same address."""
        address = Endpoint.parse(self.endpoint, listening=True)
        self.close()
        self._open(address)

    @property
    def endpoint(self) -> str:
        """Where it really listens, ``tcp://HOST:PORT``."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def readable(self) -> zmq.Socket[bytes]:
        """What a `Poller` watches."""
        return self._socket

    def receive(self) -> Incoming | None:
        """The next message that has the right form, or None where nothing waits."""
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            if 3 <= len(parts) <= _MAX_PARTS and len(parts[-2]) == 0 and (address := _address(parts[-1])):
                return Incoming(tuple(part.bytes for part in parts[:-1]), address, parts[-1].bytes)

    def send(self, route: tuple[bytes, ...], body: bytes) -> None:
        """Answer; a peer that is gone or does not read gets nothing."""
        try:
            self._socket.send_multipart([*route, body], zmq.NOBLOCK)
        except zmq.Again:
            return

    def close(self, *, flush_s: float = 0.0) -> None:
        """Stop listening; give answers on their way `flush_s` seconds to leave."""
        self._socket.close(linger=round(flush_s * 1_000))
        self._context.term()


def _address(body: zmq.Frame) -> str:
    """The peer's address; empty for a peer of ZMTP 1 or 2, which is none of ours: libzmq keeps no metadata for it."""
    try:
        return str(body.get("Peer-Address"))
    except zmq.ZMQError:
        return ""


def _address_of(bind: str) -> Endpoint:
    try:
        return Endpoint.parse(bind, listening=True).resolve()[0]
    except UnreachableError as error:
        raise ConfigError(f"cannot listen on {bind}: {error.message}", hint="name an address of this machine") from None
