"""A small world to test in: one CA, a server, clients, and a `Clock`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from securesplit.channel import frames
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import HandshakeReady, Reply, Request, Send
from securesplit.channel.frames import Frame
from securesplit.channel.limits import Limits
from securesplit.channel.server import ServerChannel
from securesplit.pki import profile
from securesplit.pki.credentials import Credentials
from securesplit.pki.profile import Identity
from securesplit_testing.clock import Clock

BUNDLE = bytes(range(32))
PEER = b"peer-1"
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass
class Authority:
    """A CA with what it signed; every credential is made as wanted, checked or not."""

    now: datetime = NOW
    identity: Identity = field(default_factory=lambda: profile.new_ca(now=NOW))
    revoked: list[int] = field(default_factory=list)

    @property
    def pem(self) -> bytes:
        return self.identity.certificate_pem

    def crl(self, now: datetime | None = None, days: int = 90) -> bytes:
        entries = [profile.revocation(serial, now=self.now) for serial in self.revoked]
        return profile.new_crl(self.identity, entries, number=1 + len(self.revoked), days=days, now=now or self.now)

    def server(self, *names: str, now: datetime | None = None) -> Identity:
        return profile.new_server(self.identity, names or ("localhost", "127.0.0.1"), days=90, now=now or self.now)

    def client(self, name: str = "device", now: datetime | None = None) -> Identity:
        return profile.new_client(self.identity, name, days=90, now=now or self.now)

    def credentials(self, own: Identity, *allowed: Identity) -> Credentials:
        """Credentials without a check, so that bad ones can be made."""
        return Credentials(
            certificate=own.certificate_pem,
            private_key=own.key_pem,
            ca=self.pem,
            crl=self.crl(),
            allowed_clients=frozenset(profile.fingerprint(one.certificate) for one in allowed),
            expires_at=own.certificate.not_valid_after_utc,
            fingerprint=profile.fingerprint(own.certificate),
        )


class World:
    """A server and a way to make clients of it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.authority = Authority()
        self.client_identity = self.authority.client()
        self.server_identity = self.authority.server()
        self.server_credentials = self.authority.credentials(self.server_identity, self.client_identity)
        self.client_credentials = self.authority.credentials(self.client_identity)
        self.clock = Clock()
        self.server = ServerChannel(self.server_credentials, BUNDLE, clock=self.clock, limits=limits)

    def client(self, credentials: Credentials | None = None, *, bundle: bytes = BUNDLE) -> ClientChannel:
        return ClientChannel(credentials or self.client_credentials, bundle, "localhost", clock=self.clock)

    def say_hello(self, client: ClientChannel, peer: bytes = PEER) -> None:
        """HELLO and HREPLY: the client is FINISHING."""
        answer = self.server.receive(peer, client.hello())
        assert isinstance(answer, Send)
        assert client.receive(answer.frame) == HandshakeReady()

    def ask(self, client: ClientChannel, plaintext: bytes = b"ask", ref: int = 1, peer: bytes = PEER) -> Request:
        """The server's event for one request of the client."""
        request = self.server.receive(peer, client.request(ref, plaintext))
        assert isinstance(request, Request), request
        return request

    def answer(self, client: ClientChannel, request: Request, plaintext: bytes = b"answer") -> Reply:
        reply = client.receive(self.server.seal_reply(request.session, request.ref, plaintext))
        assert isinstance(reply, Reply)
        return reply

    def open(self, peer: bytes = PEER, credentials: Credentials | None = None) -> tuple[ClientChannel, bytes]:
        """A client with an open session, and the session's id."""
        client = self.client(credentials)
        self.say_hello(client, peer)
        request = self.ask(client, peer=peer)
        self.answer(client, request)
        return client, request.session


def change(data: bytes, **fields: Any) -> bytes:
    """A frame with other header fields, or another body."""
    return frames.encode(replace(frames.decode(data), **fields))


def sent(event: object) -> bytes:
    """The bytes that a Send carries."""
    assert isinstance(event, Send), event
    return event.frame


def parse(event: object) -> Frame:
    """The frame that a Send carries."""
    return frames.decode(sent(event))


def ask_once(client: ClientChannel, server: ServerChannel) -> object:
    """A handshake and one request: the client's last event, or the error that one side raises."""
    client.receive(sent(server.receive(PEER, client.hello())))
    event = server.receive(PEER, client.request(1, b"ask"))
    if isinstance(event, Request):
        return client.receive(server.seal_reply(event.session, 1, b"answer"))
    return client.receive(sent(event))
