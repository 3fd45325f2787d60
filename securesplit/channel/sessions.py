"""The server's two tables: handshakes that wait for their second flight, and sessions; and who is told of them.

Invariants: both are bounded and evict (``limits.py``); a session's state moves only along ``states.SERVER``; nothing
here looks at bytes of a peer.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from securesplit.channel.limits import Limits
from securesplit.channel.sealing import Opener, Sealer
from securesplit.channel.states import SERVER, ServerState, ServerStep, advance
from securesplit.channel.tls import Handshake
from securesplit.channel.trust import ShownCertificate

HandshakeKey = tuple[bytes, bytes]  # the peer's routing id, the handshake's id


@dataclass(slots=True)
class _Machine:
    """A place in ``states.SERVER``."""

    state: ServerState = field(default=ServerState.ABSENT, kw_only=True)

    def move(self, step: ServerStep) -> None:
        """Move along the table.

        Raises:
            ProtocolError: the step is illegal now; nothing has changed.
        """
        self.state = advance(SERVER, self.state, step)


@dataclass(slots=True)
class HalfOpen(_Machine):
    """A handshake whose HREPLY was sent.

    Attributes:
        handshake: its TLS state.
        own_fingerprint: SHA-256 of the certificate that the server showed, which a reload may have replaced meanwhile.
        since_s: when HELLO came, by the server's clock.
        address: where it came from.
    """

    handshake: Handshake
    own_fingerprint: bytes
    since_s: float
    address: str = ""


@dataclass(slots=True)
class Session(_Machine):
    """A client that has proved itself.

    Attributes:
        id: 16 bytes.
        client: NAME of the certificate.
        shown: the certificate; the session is bound to it.
        sealer: replies.
        opener: requests.
        since_s: when FIN came, by the server's clock.
        used_s: when the last authenticated request came.
        requests: authenticated requests so far, repeated ones included.
    """

    id: bytes
    client: str
    shown: ShownCertificate
    sealer: Sealer
    opener: Opener
    since_s: float
    used_s: float
    requests: int = 1

    @property
    def fingerprint(self) -> str:
        """Of the certificate, hex."""
        return self.shown.fingerprint

    def end(self) -> None:
        """Forget the keys."""
        self.move(ServerStep.EXPIRE)
        self.sealer.wipe()
        self.opener.wipe()


class Ended(enum.Enum):
    """Why a session has ended; the values are words for logs and metrics."""

    AGE = "age"
    IDLE = "idle"
    SHARE = "own-share"
    FULL = "table-full"
    NOT_ALLOWED = "not-allowed"
    STOPPED = "worker-stopped"


class SessionObserver(Protocol):
    """Somebody who is told when sessions begin and end; it must not wait and must not change them."""

    def opened(self, session: Session) -> None:
        """A client has proved itself."""

    def ended(self, session: Session, why: Ended) -> None:
        """A session is gone, and with it its keys."""


class HalfOpenTable:
    """Handshakes in the order of their HELLO, keyed by peer and handshake so that no peer can touch another's.

    Attributes:
        unfinished: handshakes whose second flight did not come in time, or before others needed the place.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries: OrderedDict[HandshakeKey, HalfOpen] = OrderedDict()
        self._per_address: Counter[str] = Counter()
        self.unfinished = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: HandshakeKey, entry: HalfOpen) -> None:
        """Remember a handshake; a HELLO again under the same key replaces it.

        A full table loses the oldest of the address that has the most.
        """
        if key in self._entries:
            self._drop(key)
        entry.move(ServerStep.HELLO)
        self._entries[key] = entry
        self._per_address[entry.address] += 1
        if len(self._entries) > self._limits.max_half_open:
            ((crowded, _),) = self._per_address.most_common(1)
            self.unfinished += 1
            self._drop(next(key for key, one in self._entries.items() if one.address == crowded))

    def take(self, key: HandshakeKey, now_s: float) -> HalfOpen | None:
        """Remove and return a handshake that is young enough."""
        self.expire(now_s)
        return self._forget(key) if key in self._entries else None

    def expire(self, now_s: float) -> None:
        """Drop what waited too long."""
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if now_s - entry.since_s <= self._limits.half_open_s:
                return
            self.unfinished += 1
            self._drop(key)

    def _drop(self, key: HandshakeKey) -> None:
        self._forget(key).move(ServerStep.EXPIRE)

    def _forget(self, key: HandshakeKey) -> HalfOpen:
        entry = self._entries.pop(key)
        self._per_address[entry.address] -= 1
        if not self._per_address[entry.address]:
            del self._per_address[entry.address]
        return entry


class SessionTable:
    """Sessions, the least recently used first."""

    def __init__(self, limits: Limits, observer: SessionObserver | None = None) -> None:
        self._limits = limits
        self._observer = observer
        self._entries: OrderedDict[bytes, Session] = OrderedDict()
        self._per_client: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, session: Session) -> None:
        """Remember a session; over its share a client loses its own least recently used.

        A full table takes from the client that has most: who has fewer than others keeps what it has.
        """
        self._entries[session.id] = session
        self._per_client[session.fingerprint] += 1
        if self._observer is not None:
            self._observer.opened(session)
        if self._per_client[session.fingerprint] > self._limits.max_sessions_per_client:
            self._end(self._oldest_of(session.fingerprint), Ended.SHARE)
        elif len(self._entries) > self._limits.max_sessions:
            self._end(self._oldest_of(max(self._per_client, key=self._per_client.__getitem__)), Ended.FULL)

    def find(self, session_id: bytes, now_s: float) -> Session | None:
        """Return a session that is still good; looking changes nothing."""
        session = self._entries.get(session_id)
        return session if session and self._over(session, now_s) is None else None

    def touch(self, session: Session, now_s: float) -> None:
        """Note an authenticated request."""
        session.used_s = now_s
        session.requests += 1
        self._entries.move_to_end(session.id)

    def expire(self, now_s: float) -> None:
        """End what is too old or was idle too long."""
        self.end_where(lambda session: self._over(session, now_s))

    def end_where(self, verdict: Callable[[Session], Ended | None]) -> int:
        """End every session for which there is a reason and return how many."""
        judged = [(session, verdict(session)) for session in self._entries.values()]
        ended = [(session, why) for session, why in judged if why is not None]
        for session, why in ended:
            self._end(session, why)
        return len(ended)

    def _oldest_of(self, fingerprint: str) -> Session:
        return next(session for session in self._entries.values() if session.fingerprint == fingerprint)

    def _over(self, session: Session, now_s: float) -> Ended | None:
        grace_s = self._limits.grace_s
        if now_s - session.since_s > self._limits.max_age_s + grace_s:
            return Ended.AGE
        return Ended.IDLE if now_s - session.used_s > self._limits.max_idle_s + grace_s else None

    def _end(self, session: Session, why: Ended) -> None:
        del self._entries[session.id]
        self._per_client[session.fingerprint] -= 1
        if not self._per_client[session.fingerprint]:
            del self._per_client[session.fingerprint]
        session.end()
        if self._observer is not None:
            self._observer.ended(session, why)
