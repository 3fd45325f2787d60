"""The client's side of the channel: a handshake, then sealed requests; bytes in, bytes and events out.

Invariants:

- The session counts as open only after the first reply that verified under its keys.
- A frame that does not verify raises FrameError and changes nothing. An ERR is a hint and changes nothing either,
  unless it carries an alert protected under keys that the handshake has agreed on with the verified server.
- TrustError is raised for a certificate that was seen and refused here, and for such an alert; never for clear text,
  whatever it says. A server's flight that is not a handshake ends the handshake, for its TLS state is spent.
- ``hello()`` is legal at any time and forgets the session before it; a fresh handshake is the cure for everything.
- No I/O, no waiting, no retries: the transport owns these. One channel belongs to one thread at a time.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from securesplit.channel import context, frames, handshake_errors, sealing, tls
from securesplit.channel.events import ClientEvent, HandshakeReady, Refused, Reply
from securesplit.channel.frames import NO_SESSION, Code, ErrorBody, Frame, FrameError, FrameType, Reason
from securesplit.channel.limits import SESSION_AGE_S, SESSION_IDLE_S
from securesplit.channel.sealing import MAX_SEQUENCE, Opener, Sealer
from securesplit.channel.states import CLIENT, ClientState, ClientStep, ProtocolError, advance
from securesplit.pki import profile
from securesplit.pki.credentials import Credentials

_OTHER_PRESET = "choose --privacy certified, or ask another worker"
_DETAILS = {
    Code.BAD: "it could not read the request",
    Code.UNKNOWN_SESSION: "it does not know this session",
    Code.BUSY: "it is busy",
    Code.TLS: "it refused the handshake",
    Code.TOO_BIG: "the request is too big",
    Code.WORKER: "it could not compute this request",
    Code.DRAIN: "it is shutting down",
}


class ClientChannel:
    """One client's channel to one server.

    Args:
        credentials: the client's.
        bundle_identity: 32 bytes; both sides must hold the same bundle.
        server_name: the host name or address that the server's certificate must hold.
        clock: a monotonic clock, in seconds.
        random_bytes: source of the handshake's id; its argument is a number of bytes.
    """

    def __init__(
        self,
        credentials: Credentials,
        bundle_identity: bytes,
        server_name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._context = context.client_context(credentials)
        self._own_fingerprint = bytes.fromhex(credentials.fingerprint)
        self._identity = bundle_identity
        self._server_name = server_name
        self._clock = clock
        self._random_bytes = random_bytes
        self._state = ClientState.IDLE
        self._handshake: tls.Handshake | None = None
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._session = self._handshake_id = NO_SESSION
        self._flight = b""
        self._ready_at = self._used_at = 0.0

    @property
    def state(self) -> ClientState:
        """Where the channel stands."""
        return self._state

    @property
    def can_request(self) -> bool:
        """Whether ``request()`` is legal now."""
        return self._state in (ClientState.FINISHING, ClientState.FIN_SENT, ClientState.OPEN)

    @property
    def needs_new_handshake(self) -> bool:
        """Whether the session is missing, has sealed 4,096 requests, is 1 h old or was idle for 5 min."""
        return not self.bears(1)

    def bears(self, requests: int) -> bool:
        """Whether so many requests, sent together now, would not need a new handshake."""
        if self._sealer is None:
            return False
        now = self._clock()
        return (
            self._sealer.sequence + requests <= MAX_SEQUENCE
            and now - self._ready_at < SESSION_AGE_S
            and now - self._used_at < SESSION_IDLE_S
        )

    def hello(self) -> bytes:
        """Start a fresh handshake and return its first frame.

        Raises:
            ProtocolError: the channel is closed.
        """
        self._state = advance(CLIENT, self._state, ClientStep.SEND_HELLO)
        self._forget()
        self._handshake = tls.Handshake(self._context, self._server_name)
        self._handshake_id = self._random_bytes(frames.SESSION_BYTES)
        flight = self._handshake.step()
        return frames.encode(
            Frame(FrameType.HELLO, session=self._handshake_id, body=frames.hello_body(self._identity, flight))
        )

    def request(self, ref: int, plaintext: bytes) -> bytes:
        """Seal a request; in FINISHING the frame also ends the handshake.

        Args:
            ref: the request's id; use the same one for a retry.
            plaintext: what only the server may read.

        Raises:
            ProtocolError: there is no session yet, or it has sealed its last message.
        """
        first = self._state is ClientState.FINISHING
        state = advance(CLIENT, self._state, ClientStep.SEND_FIN if first else ClientStep.SEND_REQ)
        assert self._sealer is not None  # noqa: S101 - the table grants it
        if first:
            frame = Frame(FrameType.FIN, ref=ref, session=self._handshake_id, body=frames.fin_body(self._flight))
        else:
            frame = Frame(FrameType.REQ, ref=ref, session=self._session)
        sealed = self._sealer.seal(frame, plaintext)
        self._state = state
        self._used_at = self._clock()
        return sealed

    def receive(self, data: bytes) -> ClientEvent:
        """Take one frame of the server.

        Raises:
            FrameError: the frame is malformed, out of place, or does not verify; nothing has changed, ignore it.
            TrustError: one side refused the other; the channel is IDLE again.
        """
        frame = frames.decode(data)
        match frame.type:
            case FrameType.ERR:
                return self._on_error(frame)
            case FrameType.HREPLY:
                return self._on_server_flight(frame)
            case FrameType.FREPLY | FrameType.REP:
                return self._on_reply(frame)
            case _:
                raise FrameError(f"a server does not send {frame.type.name}")

    def close(self) -> None:
        """Forget the keys; the channel cannot be used again."""
        if self._state is not ClientState.CLOSED:
            self._state = advance(CLIENT, self._state, ClientStep.CLOSE)
            self._forget()

    def _on_server_flight(self, frame: Frame) -> HandshakeReady | Refused:
        state = self._legal(ClientStep.SERVER_FLIGHT)
        if frame.session != self._handshake_id or self._handshake is None:
            raise FrameError("the reply belongs to another handshake")
        try:
            self._flight = self._handshake.step(frame.body)
            if not self._handshake.complete:
                raise tls.HandshakeError("the worker has no key-exchange group in common")
        except tls.HandshakeError as failure:
            self._end_handshake()
            if failure.verify_error is None:  # clear text, or bytes that are no flight: anybody can send them
                return Refused(0, Code.TLS, handshake_errors.broken_off(failure.alert), 0.0)
            raise handshake_errors.on_client(failure, self._server_name) from None
        peer_fingerprint = bytes.fromhex(profile.fingerprint(self._handshake.peer))
        keys = sealing.derive(self._handshake.export, self._identity, self._own_fingerprint, peer_fingerprint)
        self._session = keys.session
        self._sealer, self._opener = Sealer(*keys.client), Opener(*keys.server)
        self._ready_at = self._used_at = self._clock()
        self._state = state
        return HandshakeReady()

    def _on_reply(self, frame: Frame) -> Reply:
        state = self._legal(ClientStep.REPLY)
        assert self._opener is not None  # noqa: S101 - the table grants it
        plaintext = self._opener.open(frame)
        self._handshake = None
        self._state = state
        return Reply(frame.ref, plaintext)

    def _on_error(self, frame: Frame) -> Refused:
        body = ErrorBody.decode(frame.body)
        self._legal(ClientStep.HINT)
        if frame.session not in (self._session, self._handshake_id, NO_SESSION):
            raise FrameError("the hint belongs to another session")
        if frame.code is Code.TLS and body.reason is Reason.ALERT and self._state is ClientState.FIN_SENT:
            self._on_alert(body.detail)
        advice = _OTHER_PRESET if (frame.code, body.reason) == (Code.WORKER, Reason.PRESET) else ""
        return Refused(frame.ref, frame.code, self._claim(frame.code, body), body.retry_after_ms / 1000, advice)

    def _on_alert(self, protected: bytes) -> None:
        """Raise TrustError where TLS accepts an alert of the server, which has proved itself by now; else return."""
        assert self._handshake is not None  # noqa: S101 - kept until the first reply
        try:
            self._handshake.read_alert(protected)
        except tls.HandshakeError as failure:
            self._end_handshake()
            raise handshake_errors.on_client(failure, self._server_name) from None

    def _claim(self, code: Code, body: ErrorBody) -> str:
        """What an ERR says, in words that do not hide that it is clear text."""
        if code is Code.TLS and body.reason is Reason.BUNDLE:
            return handshake_errors.other_bundle(self._identity, body.detail)
        if code is Code.TLS and body.reason is Reason.ALERT:
            return handshake_errors.broken_off(tls.clear_alert(body.detail))
        if code is Code.WORKER and body.reason is Reason.PRESET:
            return "it does not compute on ciphertexts; there, TenSEAL is not installed"
        return _DETAILS[code]

    def _end_handshake(self) -> None:
        self._state = advance(CLIENT, self._state, ClientStep.REFUSED)
        self._forget()

    def _legal(self, step: ClientStep) -> ClientState:
        try:
            return advance(CLIENT, self._state, step)
        except ProtocolError as error:
            raise FrameError(f"a frame came out of place: {error}") from None

    def _forget(self) -> None:
        for keyed in (self._sealer, self._opener):
            if keyed is not None:
                keyed.wipe()
        self._handshake = self._sealer = self._opener = None
        self._session = self._handshake_id = NO_SESSION
        self._flight = b""
