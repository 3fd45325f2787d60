"""The front's peers: who is connected, what is held of each, and who has to go when a bound is exceeded.

Invariants:

- Of one peer at most `SocketLimits.waiting_messages` whole messages and `SocketLimits.held_bytes_per_peer` bytes are
  held; of all together `SocketLimits.held_bytes`. Over the last bound the owner that holds most loses its connections.
- There are at most `SocketLimits.max_peers`; over it those that have not finished their greeting go first, then the
  longest silent of the owner that has most.
- Owners take turns, a message each, and the peers of an owner within its turn. A peer's owner is its address, until it
  is `claimed` for the client that has proved who it is: so many connections give nobody more than one does.

No I/O: what is dropped here has to be closed by the owner, who finds it in `dropped`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

from securesplit.transport import zmtp
from securesplit.transport.sockets import SocketLimits
from securesplit.transport.zmtp import ZmtpError

DROPS = ("peer-protocol", "peer-greeting", "peer-silent", "peer-unread", "peer-crowd", "peer-memory")
"""Why a peer is dropped; short words for logs and metrics."""
_KIND, _PARTNERS = b"ROUTER", (b"REQ", b"DEALER")
_MESSAGE_COST = 512  # bytes; what a message takes beside its body
_PING_EVERY = 16  # messages sent


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of a client.

    Attributes:
        route: the envelope to answer with.
        address: the peer's, as `endpoint.network_of` gives it.
        body: the message itself.
    """

    route: tuple[bytes, ...]
    address: str
    body: bytes


class RemotePeer:
    """One connection.

    Args:
        name: the socket's id of it.
        address: as `endpoint.network_of` gives it.
        limits: bounds.
        now_s: when it was connected.
    """

    __slots__ = (
        "_sent_since_ping",
        "_unread",
        "_waiting_bytes",
        "address",
        "heard_s",
        "held_bytes",
        "limits",
        "name",
        "owner",
        "since_s",
        "unfinished_since_s",
        "waiting",
        "zmtp",
    )

    def __init__(self, name: bytes, address: str, limits: SocketLimits, now_s: float) -> None:
        self.name, self.address, self.limits = name, address, limits
        self.owner = f"@{address}"  # no client's name has such a sign
        self.zmtp = zmtp.Connection(_KIND, _PARTNERS, limits.max_message_bytes)
        self.since_s = self.heard_s = self.unfinished_since_s = now_s
        self.waiting: deque[Incoming] = deque()
        self.held_bytes = self._waiting_bytes = self._unread = self._sent_since_ping = 0

    def receive(self, data: bytes, now_s: float) -> bytes:
        """Take a chunk, and return what must be sent.

        Raises:
            ZmtpError: the peer broke the protocol or exceeded a bound.
        """
        connection = self.zmtp
        self.heard_s = now_s
        if not connection.held_bytes:
            self.unfinished_since_s = now_s
        connection.receive(data, now_s)
        while (parts := connection.next_message()) is not None:
            self._add(parts)
            self.unfinished_since_s = now_s
        self._weigh()
        if self._unread and not connection.awaits_pong:
            self._unread = self._sent_since_ping
        output = connection.output()
        return self.sent(output) if output else output

    def take(self) -> Incoming:
        """Remove and return the first message that waits."""
        message = self.waiting.popleft()
        self._waiting_bytes -= _MESSAGE_COST + len(message.body)
        self.held_bytes = self.zmtp.held_bytes + self._waiting_bytes
        return message

    def sent(self, data: bytes) -> bytes:
        """Count what is being sent, and return it, now and then with a PING that shows whether the peer reads.

        Raises:
            ZmtpError: the peer has not read the last `SocketLimits.unread_messages`.
        """
        self._unread += 1
        self._sent_since_ping += 1
        if self._unread > self.limits.unread_messages:
            raise ZmtpError("a peer that does not read")
        if self._sent_since_ping >= _PING_EVERY and self.zmtp.is_ready and not self.zmtp.awaits_pong:
            return data + self.ping()
        return data

    def ping(self) -> bytes:
        """A PING to send; its answer says that all before it was read."""
        self._sent_since_ping = 0
        return self.zmtp.ping()

    def overdue(self, now_s: float) -> bool:
        """Whether a deadline has passed: of the greeting, of an unfinished message, or of any sign of life."""
        limits = self.limits
        if not self.zmtp.is_ready:
            return now_s - self.since_s > limits.greeting_s
        unfinished = self.zmtp.held_bytes and now_s - self.unfinished_since_s > limits.message_s
        return bool(unfinished) or now_s - self.heard_s > 3 * limits.heartbeat_s

    def is_silent(self, now_s: float) -> bool:
        """Whether it is time to ask for a sign of life."""
        return now_s - self.heard_s > self.limits.heartbeat_s and not self.zmtp.awaits_pong

    def _add(self, parts: list[bytes]) -> None:
        if len(parts) < 2 or parts[-2]:
            raise ZmtpError("a message without the empty delimiter of REQ")
        body = parts[-1]
        self.waiting.append(Incoming((self.name, *parts[:-1]), self.address, body))
        self._waiting_bytes += _MESSAGE_COST + len(body)

    def _weigh(self) -> None:
        self.held_bytes = self.zmtp.held_bytes + self._waiting_bytes
        if len(self.waiting) > self.limits.waiting_messages or self.held_bytes > self.limits.held_bytes_per_peer:
            raise ZmtpError("a peer that sends more than it is served")


class PeerTable:
    """All peers of a front, by the socket's id of each.

    Args:
        limits: bounds.

    Attributes:
        dropped: ids of peers that went since the owner last emptied it, and why, in a word.
    """

    def __init__(self, limits: SocketLimits) -> None:
        self._limits = limits
        self._peers: dict[bytes, RemotePeer] = {}
        self._pending: OrderedDict[str, deque[RemotePeer]] = OrderedDict()
        self._held_bytes = 0
        self.dropped: list[tuple[bytes, str]] = []

    def __len__(self) -> int:
        return len(self._peers)

    @property
    def has_waiting(self) -> bool:
        """Whether a message waits that was received."""
        return bool(self._pending)

    def find(self, name: bytes) -> RemotePeer | None:
        """The peer of this id."""
        return self._peers.get(name)

    def add(self, name: bytes, address: str, now_s: float) -> RemotePeer:
        """A new peer has come."""
        peer = self._peers[name] = RemotePeer(name, address, self._limits, now_s)
        if len(self._peers) > self._limits.max_peers:
            self._thin_out(peer)
        return peer

    def receive(self, peer: RemotePeer, data: bytes, now_s: float) -> bytes:
        """Take a chunk of a peer's, and return what must be sent to it; a peer that breaks a rule is dropped."""
        before, waited = peer.held_bytes, bool(peer.waiting)
        try:
            output = peer.receive(data, now_s)
        except ZmtpError:
            self._held_bytes += peer.held_bytes - before
            self.drop(peer, "peer-protocol")
            return b""
        self._held_bytes += peer.held_bytes - before
        if peer.waiting and not waited:
            self._pending.setdefault(peer.owner, deque()).append(peer)
        if self._held_bytes > self._limits.held_bytes:
            self._lighten()
        return output

    def claimed(self, name: bytes, client: str) -> None:
        """A client has proved that this connection is its own."""
        peer = self._peers.get(name)
        if peer is not None:
            peer.owner = client

    def next_message(self) -> Incoming | None:
        """The message whose turn it is."""
        while self._pending:
            owner, peers = self._pending.popitem(last=False)
            peer = peers.popleft()
            message = self._take(peer) if peer.waiting else None
            if peers:
                self._pending[owner] = peers
            if peer.waiting:
                self._pending.setdefault(peer.owner, deque()).append(peer)
            if message is not None:
                return message
        return None

    def _take(self, peer: RemotePeer) -> Incoming:
        before = peer.held_bytes
        message = peer.take()
        self._held_bytes += peer.held_bytes - before
        return message

    def drop(self, peer: RemotePeer, why: str) -> None:
        """Forget a peer that has to go, and what waits of it."""
        if self.forget(peer.name):
            self.dropped.append((peer.name, why))

    def forget(self, name: bytes) -> bool:
        """Forget a peer that has gone, and what waits of it; False where it is unknown."""
        peer = self._peers.pop(name, None)
        if peer is None:
            return False
        self._held_bytes -= peer.held_bytes
        peer.waiting.clear()
        return True

    def tick(self, now_s: float) -> list[RemotePeer]:
        """Drop those whose deadline has passed, and return those to PING."""
        for peer in [peer for peer in self._peers.values() if peer.overdue(now_s)]:
            self.drop(peer, "peer-silent" if peer.zmtp.is_ready else "peer-greeting")
        return [peer for peer in self._peers.values() if peer.is_silent(now_s)]

    def _thin_out(self, newest: RemotePeer) -> None:
        """Drop a sixteenth of all at once, so that a flood of connections does not pay for a look at all for each."""
        crowd = Counter(peer.owner for peer in self._peers.values())

        def importance(peer: RemotePeer) -> tuple[bool, int, float]:
            return peer.zmtp.is_ready, -crowd[peer.owner], peer.heard_s

        most = max(1, self._limits.max_peers // 16)
        for peer in sorted(self._peers.values(), key=importance)[:most]:
            if peer is not newest:
                self.drop(peer, "peer-crowd")

    def _lighten(self) -> None:
        """Drop what holds most of the owner that holds most, down to three quarters of the bound."""
        while self._held_bytes > self._limits.held_bytes * 3 // 4:
            held: Counter[str] = Counter()
            for peer in self._peers.values():
                held[peer.owner] += peer.held_bytes
            ((owner, _),) = held.most_common(1)
            heaviest = [peer for peer in self._peers.values() if peer.owner == owner and peer.held_bytes]
            for peer in sorted(heaviest, key=lambda peer: -peer.held_bytes):
                self.drop(peer, "peer-memory")
                if self._held_bytes <= self._limits.held_bytes * 3 // 4:
                    return
