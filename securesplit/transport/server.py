"""The front's socket towards the clients: messages in, who sent each, one message back.

A STREAM socket gives the bytes of each TCP connection, and `zmtp` reads them, so that every bound holds while a message
arrives (ADR 019). Clients are REQ sockets, or DEALERs that speak like one: a message is ``[empty, body]``, possibly
after ids of a proxy or of the request. The envelope is kept as the *route* of the answer. Sending never blocks. A peer
that breaks a rule is disconnected at once, and so is one that does not read.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable

import zmq

from securesplit.errors import ConfigError, UnreachableError
from securesplit.transport.endpoint import Endpoint, cannot_listen, network_of
from securesplit.transport.peers import Incoming, PeerTable, RemotePeer
from securesplit.transport.sockets import SocketLimits, front_socket, new_context
from securesplit.transport.zmtp import ZmtpError, encode

__all__ = ["FrontSocket", "Incoming"]

_NAME, _DATA = int(zmq.NOBLOCK | zmq.SNDMORE), int(zmq.NOBLOCK)  # plain numbers: the flags' own `|` takes 0.6 µs
_ASKED = 3  # chunks; to ask whether there is another one takes a third of being told Again, which more chunks share


class FrontSocket:
    """A bound socket that speaks as a ROUTER.

    Args:
        bind: ``tcp://HOST:PORT``; host ``*`` listens everywhere, port 0 lets the system choose.
        limits: bounds on what peers may do.
        clock: seconds, rising.

    Attributes:
        dropped: how many peers were disconnected by reason, since the owner last emptied it.

    Raises:
        ConfigError: the address cannot be bound, or this process may open no more files.
    """

    def __init__(
        self, bind: str, limits: SocketLimits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits, self._clock = limits or SocketLimits(), clock
        self.dropped: Counter[str] = Counter()
        self._open(_address_of(bind))

    def _open(self, address: Endpoint) -> None:
        self._peers = PeerTable(self._limits)
        self._context = new_context()
        self._socket = front_socket(self._context, self._limits, ipv6=address.is_ipv6)
        try:
            self._socket.bind(str(address))
        except zmq.ZMQError as error:
            self.close()
            raise cannot_listen(str(address), error.errno) from None

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

    @property
    def has_waiting(self) -> bool:
        """Whether messages wait that were received already, of which a `Poller` knows nothing."""
        return self._peers.has_waiting

    def receive(self) -> list[Incoming]:
        """The messages of one turn, at most `messages_a_turn`: clients take turns, and strangers by address."""
        now_s, frames = self._clock(), 0
        for turn in range(self._limits.chunks_a_turn):
            if 0 < turn < _ASKED and not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                break
            read = self._read(now_s)
            if read < 0 or frames > self._limits.frames_a_turn:
                break
            frames += read
        messages: list[Incoming] = []
        while len(messages) < self._limits.messages_a_turn and (message := self._peers.next_message()) is not None:
            messages.append(message)
        return messages

    def send(self, route: tuple[bytes, ...], body: bytes) -> None:
        """Answer; a peer that is gone or does not read gets nothing."""
        peer = self._peers.find(route[0])
        if peer is not None:
            self._write(peer, encode((*route[1:], body)))

    def claimed(self, route: tuple[bytes, ...], client: str) -> None:
        """A client has proved that the connection of this route is its own: its connections share its turns."""
        self._peers.claimed(route[0], client)

    def tick(self) -> None:
        """Disconnect peers whose deadline has passed, and PING the silent ones; about once a second."""
        for peer in self._peers.tick(self._clock()):
            self._write(peer, peer.ping())
        self._disconnect()

    def close(self, *, flush_s: float = 0.0) -> None:
        """Stop listening; give answers on their way `flush_s` seconds to leave."""
        self._socket.close(linger=round(flush_s * 1_000))
        self._context.term()

    def _read(self, now_s: float) -> int:
        """Take one chunk; returns how many frames it completed, or -1 where nothing waits."""
        try:
            name = self._socket.recv(_DATA)
        except zmq.Again:
            return -1
        peer = self._peers.find(name)
        if peer is None:
            self._meet(name, self._socket.recv(_DATA, copy=False), now_s)
            return 0
        data = self._socket.recv(_DATA)
        if not data:
            self._peers.forget(name)
            return 0
        before = peer.zmtp.frames
        if output := self._peers.receive(peer, data, now_s):
            self._push(peer, output)
        if self._peers.dropped:
            self._disconnect()
        return peer.zmtp.frames - before

    def _meet(self, name: bytes, data: zmq.Frame, now_s: float) -> None:
        """An empty chunk of somebody unknown begins a connection; other ones are the rest of one that was dropped."""
        if len(data):
            self._close_peer(name)
            return
        peer = self._peers.add(name, _address(data), now_s)
        self._write(peer, peer.zmtp.output())
        self._disconnect()

    def _write(self, peer: RemotePeer, data: bytes) -> None:
        try:
            data = peer.sent(data)
        except ZmtpError:
            self._peers.drop(peer, "peer-unread")
            self._disconnect()
        else:
            self._push(peer, data)

    def _push(self, peer: RemotePeer, data: bytes) -> None:
        try:
            self._socket.send(peer.name, _NAME)
            self._socket.send(data, _DATA)
        except zmq.ZMQError:  # it has gone; that its queue is full cannot be (`sockets._CHUNKS_OUT`)
            self._peers.forget(peer.name)
            self._close_peer(peer.name)

    def _disconnect(self) -> None:
        """Close the connections of those who were dropped."""
        while self._peers.dropped:
            name, why = self._peers.dropped.pop()
            self.dropped[why] += 1
            self._close_peer(name)

    def _close_peer(self, name: bytes) -> None:
        """An empty chunk closes a connection."""
        with contextlib.suppress(zmq.ZMQError):  # it has gone by itself
            self._socket.send(name, _NAME)
            self._socket.send(b"", _DATA)


def _address(data: zmq.Frame) -> str:
    """What the peer is counted by (`network_of`); empty where it has gone already."""
    try:
        return network_of(str(data.get("Peer-Address")))
    except zmq.ZMQError:
        return ""


def _address_of(bind: str) -> Endpoint:
    try:
        return Endpoint.parse(bind, listening=True).resolve()[0]
    except UnreachableError as error:
        raise ConfigError(f"cannot listen on {bind}: {error.message}", hint="name an address of this machine") from None
