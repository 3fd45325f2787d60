"""The server's side of the channel: every session of one front; bytes in, bytes and events out.

Invariants:

- No session changes before a tag has verified: neither its counter, nor its place in the LRU, nor its life.
- A session exists only after the client's certificate was verified and its first request opened; it is bound to that
  certificate's fingerprint, and ends when a reload no longer allows it.
- Every answer to an unauthenticated frame is bounded, and none is larger than a handshake's reply.
- Half-open handshakes and sessions are bounded and evict; see ``limits.py``.
- No I/O and no waiting: the front calls ``tick`` about once a second. One thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from securesplit.channel import context, frames, handshake_errors, sealing, tls
from securesplit.channel.events import Drop, Request, Send, ServerEvent
from securesplit.channel.frames import Code, ErrorBody, Frame, FrameError, FrameType, Reason
from securesplit.channel.limits import Limits
from securesplit.channel.sealing import MAX_SEQUENCE, Opener, Sealer
from securesplit.channel.sessions import Ended, HalfOpen, HalfOpenTable, Session, SessionObserver, SessionTable
from securesplit.channel.states import ProtocolError, ServerState, ServerStep
from securesplit.channel.trust import ShownCertificate, Trust
from securesplit.pki import naming
from securesplit.pki.credentials import Credentials

REFUSALS = handshake_errors.REASONS | {
    "too-big",
    "malformed",
    "wrong-direction",
    "bundle",
    "unknown-session",
    "bad-tag",
    "unfinished",
}
"""Every reason for which a frame or a handshake is refused; short words for logs and metrics."""


class ServerChannel:
    """All sessions of one front.

    Args:
        credentials: the server's.
        bundle_identity: 32 bytes; clients with another bundle are refused.
        clock: a monotonic clock, in seconds.
        limits: bounds.
        observer: is told of sessions.
    """

    def __init__(
        self,
        credentials: Credentials,
        bundle_identity: bytes,
        *,
        clock: Callable[[], float] = time.monotonic,
        limits: Limits | None = None,
        observer: SessionObserver | None = None,
    ) -> None:
        self._identity = bundle_identity
        self._clock = clock
        self._limits = limits = limits or Limits()
        self._half_open = HalfOpenTable(limits)
        self._sessions = SessionTable(limits, observer)
        self._use(credentials, Trust(credentials))

    @property
    def session_count(self) -> int:
        """Sessions that are accepted or open."""
        return len(self._sessions)

    @property
    def half_open_count(self) -> int:
        """Handshakes that wait for their second flight."""
        return len(self._half_open)

    def receive(self, peer: bytes, data: bytes, *, address: str = "") -> ServerEvent:
        """Take one frame of a peer.

        Args:
            peer: the connection's routing id; a handshake must end on the connection where it began.
            data: the frame.
            address: where the connection comes from; in a flood the address with the most half-open handshakes loses
                them first.
        """
        if len(data) > frames.HEADER_BYTES + self._limits.max_body_bytes:
            return Send(self.error(Code.TOO_BIG, frames.ref_of(data), frames.session_of(data)), "too-big")
        try:
            frame = frames.decode(data, max_body_bytes=self._limits.max_body_bytes)
        except FrameError:
            return Drop("malformed")
        match frame.type:
            case FrameType.HELLO:
                return self._on_hello(peer, frame, address)
            case FrameType.FIN:
                return self._on_fin(peer, frame)
            case FrameType.REQ:
                return self._on_request(frame)
            case _:
                return Drop("wrong-direction")

    def client_of(self, session: bytes) -> str:
        """Who a session was established with, empty where there is none; says nothing about who sent a frame of it."""
        found = self._sessions.find(session, self._clock())
        return "" if found is None else found.client

    def seal_reply(self, session: bytes, ref: int, plaintext: bytes) -> bytes:
        """Seal the answer to a request: FREPLY for a session's first, REP after.

        A session that has ended meanwhile gives an ERR with UNKNOWN_SESSION, upon which the client asks again.
        """
        found = self._sessions.find(session, self._clock())
        if found is None or found.sealer.sequence >= MAX_SEQUENCE:
            return self.error(Code.UNKNOWN_SESSION, ref, session)
        first = found.state is ServerState.ACCEPTED
        found.move(ServerStep.SEND_FIRST_REPLY if first else ServerStep.SEND_REPLY)
        kind = FrameType.FREPLY if first else FrameType.REP
        return found.sealer.seal(Frame(kind, ref=ref, session=session), plaintext)

    def error(
        self,
        code: Code,
        ref: int = 0,
        session: bytes = frames.NO_SESSION,
        *,
        retry_after_ms: int = 0,
        reason: Reason = Reason.NONE,
        detail: bytes = b"",
    ) -> bytes:
        """An ERR frame: a hint in clear text."""
        body = ErrorBody(retry_after_ms, reason, detail).encode()
        return frames.encode(Frame(FrameType.ERR, code, ref=ref, session=session, body=body))

    def reload(self, credentials: Credentials) -> int:
        """Use new credentials from now on, end the sessions that they no longer allow, and return how many ended.

        Raises:
            CredentialError: they hold an older revocation list than those in use, which would let revoked clients in.
        """
        trust = Trust(credentials)
        trust.check_follows(self._trust)
        self._use(credentials, trust)
        return self._sessions.end_where(lambda session: None if self.allows(session.shown) else Ended.NOT_ALLOWED)

    def allows(self, shown: ShownCertificate) -> bool:
        """Whether the credentials in use still allow a certificate that a session was opened with."""
        return self._trust.allows(shown)

    def close(self) -> None:
        """End all sessions and forget their keys."""
        self._sessions.end_where(lambda _session: Ended.STOPPED)

    def tick(self) -> int:
        """End what has lived too long; returns how many handshakes were left unfinished since the last time."""
        now_s = self._clock()
        self._half_open.expire(now_s)
        self._sessions.expire(now_s)
        unfinished, self._half_open.unfinished = self._half_open.unfinished, 0
        return unfinished

    def _use(self, credentials: Credentials, trust: Trust) -> None:
        self._context = context.server_context(credentials)
        self._own_fingerprint = bytes.fromhex(credentials.fingerprint)
        self._trust = trust
        self._client_names = credentials.client_names

    def _on_hello(self, peer: bytes, frame: Frame, address: str) -> ServerEvent:
        now_s = self._clock()
        identity, flight = frames.read_hello(frame.body)
        if len(flight) > tls.MAX_FLIGHT_BYTES:
            return Send(self.error(Code.TOO_BIG, session=frame.session), "too-big")
        if identity != self._identity:
            return Send(self._refusal(frame.session, Reason.BUNDLE, self._identity), "bundle")
        self._half_open.expire(now_s)
        handshake = tls.Handshake(self._context)
        try:
            reply = handshake.step(flight)
        except tls.HandshakeError as failure:
            refusal = self._refusal(frame.session, Reason.ALERT, failure.outgoing)
            return Send(refusal, handshake_errors.on_server(failure))
        if not reply:
            return Drop("malformed")
        self._half_open.add((peer, frame.session), HalfOpen(handshake, self._own_fingerprint, now_s, address))
        return Send(frames.encode(Frame(FrameType.HREPLY, session=frame.session, body=reply)))

    def _on_fin(self, peer: bytes, frame: Frame) -> ServerEvent:
        flight, sealed = frames.read_fin(frame.body)
        if not sealed:
            return Drop("malformed")
        now_s = self._clock()
        entry = self._half_open.take((peer, frame.session), now_s)
        if entry is None:
            return Send(self.error(Code.UNKNOWN_SESSION, frame.ref, frame.session), "unknown-session")
        try:
            entry.handshake.step(flight)
            session = self._session_of(entry, now_s)
            plaintext = session.opener.open(frame, sealed)
        except tls.HandshakeError as failure:
            entry.move(ServerStep.REFUSE)
            refusal = self._refusal(frame.session, Reason.ALERT, failure.outgoing)
            return Send(refusal, handshake_errors.on_server(failure))
        except (FrameError, ProtocolError):
            entry.move(ServerStep.REFUSE)
            return Send(self.error(Code.BAD, frame.ref, frame.session), "bad-tag")
        if not self.allows(session.shown):  # a reload came between the two flights
            entry.move(ServerStep.REFUSE)
            return Send(self.error(Code.UNKNOWN_SESSION, frame.ref, frame.session), "not-allowed")
        entry.move(ServerStep.FIN)
        session.state = entry.state
        self._sessions.add(session)
        return Request(session.id, frame.ref, plaintext, session.client, session.shown)

    def _session_of(self, entry: HalfOpen, now_s: float) -> Session:
        """The session of a handshake.

        Raises:
            ProtocolError: the handshake is not complete.
        """
        shown = ShownCertificate.of(entry.handshake.peer_chain)
        keys = sealing.derive(
            entry.handshake.export, self._identity, bytes.fromhex(shown.fingerprint), entry.own_fingerprint
        )
        return Session(
            id=keys.session,
            client=naming.called(entry.handshake.peer, self._client_names.get(shown.fingerprint)) or "",
            shown=shown,
            sealer=Sealer(*keys.server),
            opener=Opener(*keys.client),
            since_s=now_s,
            used_s=now_s,
        )

    def _on_request(self, frame: Frame) -> ServerEvent:
        now_s = self._clock()
        session = self._sessions.find(frame.session, now_s)
        if session is None or frame.seq > MAX_SEQUENCE:
            return Send(self.error(Code.UNKNOWN_SESSION, frame.ref, frame.session), "unknown-session")
        try:
            plaintext = session.opener.open(frame)
        except FrameError:
            return Send(self.error(Code.BAD, frame.ref, frame.session), "bad-tag")
        session.move(ServerStep.REQ)
        self._sessions.touch(session, now_s)
        return Request(session.id, frame.ref, plaintext, session.client, session.shown)

    def _refusal(self, session: bytes, reason: Reason, detail: bytes) -> bytes:
        return self.error(Code.TLS, session=session, reason=reason, detail=detail)
