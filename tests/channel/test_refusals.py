"""Each refusal has its own clear error on the client, and no session on the server. Real TLS, both sides."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from securesplit.channel import frames
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Refused, Reply, Request, Send
from securesplit.channel.frames import NO_SESSION, Code, ErrorBody, Frame, FrameType, Reason
from securesplit.channel.server import ServerChannel
from securesplit.channel.states import ClientState
from securesplit.errors import TrustError
from securesplit.pki import profile
from securesplit.pki.credentials import Credentials
from securesplit_testing.channels import BUNDLE, NOW, PEER, Authority, ask_once, parse, sent
from tests.channel.test_tls import limit_version, only_chacha, only_p384, other_alpn

DAY = timedelta(days=1)


@dataclass
class Case:
    """Both sides of a handshake, good until a test spoils one."""

    server: Credentials
    client: Credentials
    name: str = "localhost"
    bundle: bytes = BUNDLE


def good(authority: Authority) -> Case:
    client = authority.client()
    return Case(authority.credentials(authority.server(), client), authority.credentials(client))


def server_with(authority: Authority, own: profile.Identity) -> Case:
    client = authority.client()
    return Case(authority.credentials(own, client), authority.credentials(client))


def client_with(authority: Authority, own: profile.Identity) -> Case:
    return Case(authority.credentials(authority.server(), own), authority.credentials(own))


def connect(case: Case) -> tuple[ClientChannel, ServerChannel, Callable[[], object]]:
    """The two channels, and a call that runs the handshake to its end or its error."""
    client = ClientChannel(case.client, case.bundle, case.name)
    server = ServerChannel(case.server, BUNDLE)

    return client, server, functools.partial(ask_once, client, server)


def other_ca_on_the_server(authority: Authority) -> Case:
    case = good(authority)
    other = Authority()
    own = other.server()
    return replace(case, server=replace(case.server, certificate=own.certificate_pem, private_key=own.key_pem))


def wrong_name(authority: Authority) -> Case:
    return replace(server_with(authority, authority.server("tail.example.org")), name="localhost")


def wrong_address(authority: Authority) -> Case:
    return replace(good(authority), name="127.0.0.2")


def server_of(authority: Authority, title: str, *names: x509.GeneralName) -> Case:
    """A worker whose certificate `keygen` would not issue: by a subject of its own, and for any names."""
    key, usage = profile.new_key(), ExtendedKeyUsageOID.SERVER_AUTH
    issued = profile._leaf(authority.identity, key.public_key(), title, names, usage, days=90, now=NOW)
    return server_with(authority, profile.Identity(issued, key))


def name_by_a_wildcard(authority: Authority) -> Case:
    return replace(server_of(authority, "tail", x509.DNSName("*.example.org")), name="tail.example.org")


def name_in_the_subject_alone(authority: Authority) -> Case:
    """OpenSSL looks there where a certificate names no host."""
    address = x509.IPAddress(ipaddress.ip_address("192.0.2.1"))
    return replace(server_of(authority, "subject.example.org", address), name="subject.example.org")


def client_certificate_on_the_server(authority: Authority) -> Case:
    return server_with(authority, authority.client("impostor"))


def expired_server(authority: Authority) -> Case:
    return server_with(authority, authority.server(now=NOW - 100 * DAY))


def future_server(authority: Authority) -> Case:
    return server_with(authority, authority.server(now=NOW + 2 * DAY))


def revoked_server(authority: Authority) -> Case:
    own = authority.server()
    authority.revoked.append(own.certificate.serial_number)
    return server_with(authority, own)


def stale_crl_on_the_client(authority: Authority) -> Case:
    case = good(authority)
    return replace(case, client=replace(case.client, crl=authority.crl(now=NOW - 200 * DAY)))


def future_crl_on_the_client(authority: Authority) -> Case:
    case = good(authority)
    return replace(case, client=replace(case.client, crl=authority.crl(now=NOW + 2 * DAY)))


def no_crl_on_the_client(authority: Authority) -> Case:
    case = good(authority)
    return replace(case, client=replace(case.client, crl=Authority().crl()))


def other_bundle(authority: Authority) -> Case:
    return replace(good(authority), bundle=bytes(32))


WE_REFUSE = [
    (other_ca_on_the_server, "issued by a CA that this device does not trust", "copy ca.crt"),
    (wrong_name, "not for the name localhost", "--server-name localhost"),
    (wrong_address, "not for the name 127.0.0.2", "--server-name 127.0.0.2"),
    (name_by_a_wildcard, "not for the name tail.example.org", "--server-name tail.example.org"),
    (name_in_the_subject_alone, "not for the name subject.example.org", "--server-name subject.example.org"),
    (client_certificate_on_the_server, "may not be used by a server", "server.crt"),
    (expired_server, "the worker's certificate has expired", "keygen --renew"),
    (future_server, "the worker's certificate is not valid yet", "clock"),
    (revoked_server, "the worker's certificate was revoked", "do not use"),
    (stale_crl_on_the_client, "revocation list on this device has expired", "crl.pem"),
    (future_crl_on_the_client, "revocation list on this device is not valid yet", "clock"),
    (no_crl_on_the_client, "no revocation list", "crl.pem"),
]


@pytest.mark.parametrize(("spoil", "message", "hint"), WE_REFUSE, ids=lambda value: getattr(value, "__name__", ""))
def test_this_device_refuses_the_worker(spoil: Callable[[Authority], Case], message: str, hint: str) -> None:
    client, server, run = connect(spoil(Authority()))
    with pytest.raises(TrustError) as caught:
        run()
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert client.state is ClientState.IDLE
    assert not client.can_request
    assert server.session_count == 0


def other_ca_on_the_client(authority: Authority) -> Case:
    case = good(authority)
    other = Authority()
    own = other.client()
    stranger = replace(other.credentials(own), ca=authority.pem, crl=authority.crl())
    return replace(case, client=stranger)


def server_certificate_on_the_client(authority: Authority) -> Case:
    return client_with(authority, authority.server())


def expired_client(authority: Authority) -> Case:
    return client_with(authority, authority.client(now=NOW - 100 * DAY))


def future_client(authority: Authority) -> Case:
    return client_with(authority, authority.client(now=NOW + 2 * DAY))


def revoked_client(authority: Authority) -> Case:
    own = authority.client()
    authority.revoked.append(own.certificate.serial_number)
    return client_with(authority, own)


def unlisted_client(authority: Authority) -> Case:
    case = good(authority)
    return replace(case, server=replace(case.server, allowed_clients=frozenset()))


def client_without_a_certificate(authority: Authority) -> Case:
    case = good(authority)
    return replace(case, client=replace(case.client, certificate=b"", private_key=b""))


def client_without_a_name(authority: Authority) -> Case:
    """A listed certificate of the CA, for clients, but with a DNS name in place of the client's URI."""
    plain = authority.client()
    names = x509.SubjectAlternativeName([x509.DNSName("device")])
    return client_with(authority, reissue(authority, plain, names, [ExtendedKeyUsageOID.CLIENT_AUTH]))


def client_with_two_usages(authority: Authority) -> Case:
    plain = authority.client()
    names = plain.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return client_with(authority, reissue(authority, plain, names, usages))


def stale_crl_on_the_worker(authority: Authority) -> Case:
    case = good(authority)
    return replace(case, server=replace(case.server, crl=authority.crl(now=NOW - 200 * DAY)))


def early_crl_on_the_worker(authority: Authority) -> Case:
    case = good(authority)
    return replace(case, server=replace(case.server, crl=authority.crl(now=NOW + DAY)))


def reissue(
    authority: Authority,
    plain: profile.Identity,
    names: x509.SubjectAlternativeName,
    usages: list[x509.ObjectIdentifier],
) -> profile.Identity:
    """The same certificate with other names and usages."""
    old = plain.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    for kind in (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier, x509.BasicConstraints, x509.KeyUsage):
        extension = old.extensions.get_extension_for_class(kind)
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return profile.Identity(builder.sign(authority.identity.key, hashes.SHA256()), plain.key)


THE_WORKER_REFUSES = [
    (other_ca_on_the_client, "does not trust the CA of this device's certificate", "keygen issued", "unknown-ca"),
    (server_certificate_on_the_client, "since it is not for clients", "clients/NAME", "wrong-usage"),
    (expired_client, "this device's certificate has expired", "--renew", "expired"),
    (future_client, "does not accept this device's certificate (it or", "clocks", "not-yet-valid"),
    (revoked_client, "this device's certificate was revoked", "ask the operator", "revoked"),
    (unlisted_client, "not on the worker's allow-list", "--renew --client NAME", "not-allowed"),
    (client_without_a_certificate, "wants a certificate, and this device showed none", "--certs", "no-certificate"),
    (client_without_a_name, "not on the worker's allow-list", "must be for clients", "no-client-name"),
    (client_with_two_usages, "not on the worker's allow-list", "must be for clients", "wrong-usage"),
    (early_crl_on_the_worker, "or the worker's revocation list is not valid yet", "CA machine", "crl-not-yet-valid"),
    (stale_crl_on_the_worker, "(or the worker's revocation list has)", "keygen --renew", "crl-expired"),
]


@pytest.mark.parametrize(
    ("spoil", "message", "hint", "reason"), THE_WORKER_REFUSES, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_worker_refuses_this_device(
    spoil: Callable[[Authority], Case], message: str, hint: str, reason: str
) -> None:
    case = spoil(Authority())
    client, server, run = connect(case)
    with pytest.raises(TrustError) as caught:
        run()
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert client.state is ClientState.IDLE
    assert (server.session_count, server.half_open_count) == (0, 0)

    client, server, _ = connect(case)
    client.receive(sent(server.receive(PEER, client.hello())))
    refusal = server.receive(PEER, client.request(1, b"ask"))
    assert parse(refusal).code is Code.TLS
    assert isinstance(refusal, Send)
    assert refusal.reason == reason


def test_the_messages_are_distinct() -> None:
    messages = [message for _, message, _ in WE_REFUSE if "127.0.0.2" not in message]
    messages += [message for spoil, message, *_ in THE_WORKER_REFUSES if spoil.__name__ not in EXTRA_CASES]
    assert len(set(messages)) == len(messages)


EXTRA_CASES = {"client_without_a_name", "client_with_two_usages", "stale_crl_on_the_worker", "early_crl_on_the_worker"}


CERTIFICATE_WORDS = ("certificate", "revoked", "expired", "allow-list", "CA ", "trust")


def claimed(client: ClientChannel, data: bytes) -> str:
    """What clear text claims; the channel makes a hint of it and nothing else."""
    event = client.receive(data)
    assert isinstance(event, Refused)
    assert not any(word in event.detail for word in CERTIFICATE_WORDS), event.detail
    return event.detail


@pytest.mark.parametrize(
    ("spoil", "reason", "claim"),
    [
        (other_alpn, "protocol", "TLS alert 120, it does not speak securesplit/1"),
        (only_p384, "handshake", "TLS alert 40, no common suite or group"),
        (only_chacha, "handshake", "TLS alert 40, no common suite or group"),
        (limit_version, "handshake", "TLS alert 70, no common TLS version"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_device_that_speaks_something_else_is_told_so(
    spoil: Callable[[SSL.Context], None], reason: str, claim: str
) -> None:
    client, server, _ = connect(good(Authority()))
    spoil(client._context)
    refusal = server.receive(PEER, client.hello())
    assert isinstance(refusal, Send)
    assert refusal.reason == reason
    assert server.half_open_count == 0
    assert claim in claimed(client, refusal.frame)


def test_another_bundle_is_a_claim_in_clear_text() -> None:
    client, server, _ = connect(other_bundle(Authority()))
    said = claimed(client, sent(server.receive(PEER, client.hello())))
    assert said.startswith("this device holds the bundle sha256:0000000000000000…, the worker serves sha256:0001020304")


@pytest.mark.parametrize("stage", [ClientState.HELLO_SENT, ClientState.FINISHING, ClientState.FIN_SENT])
@pytest.mark.parametrize("level", [1, 2])
def test_a_clear_alert_says_nothing_of_certificates_at_any_stage(stage: ClientState, level: int) -> None:
    """Every number, whether the handshake has keys already or not; the honest handshake can go on after each."""
    client, server, _ = connect(good(Authority()))
    reply = sent(server.receive(PEER, client.hello()))
    fin = b""
    if stage is not ClientState.HELLO_SENT:
        client.receive(reply)
    if stage is ClientState.FIN_SENT:
        fin = client.request(1, b"ask")
    for number in range(256):
        alert = bytes([21, 3, 3, 0, 2, level, number])
        for session in (frames.decode(reply).session, NO_SESSION):
            body = ErrorBody(0, Reason.ALERT, alert).encode()
            forged = frames.encode(Frame(FrameType.ERR, Code.TLS, session=session, body=body))
            assert str(number) in claimed(client, forged)
        assert client.state is stage
    if stage is ClientState.HELLO_SENT:
        client.receive(reply)
    request = server.receive(PEER, fin or client.request(1, b"ask"))
    assert isinstance(request, Request)
    assert client.receive(server.seal_reply(request.session, 1, b"answer")) == Reply(1, b"answer")


@pytest.mark.parametrize("number", [0, 42, 44, 45, 48, 80, 90, 116, 255])
def test_an_alert_in_place_of_a_server_flight_is_a_claim_too(number: int) -> None:
    client, _, _ = connect(good(Authority()))
    hello = frames.decode(client.hello())
    alert = Frame(FrameType.HREPLY, session=hello.session, body=bytes([21, 3, 3, 0, 2, 2, number]))
    claimed(client, frames.encode(alert))
    assert client.state is ClientState.IDLE


def test_the_good_case_is_good() -> None:
    client, server, run = connect(good(Authority()))
    run()
    assert client.state is ClientState.OPEN
    assert server.session_count == 1


def test_two_cas_can_be_trusted_while_one_replaces_the_other() -> None:
    old, new = Authority(), Authority()
    before, after = old.client(), new.client()
    ca, crl = old.pem + new.pem, old.crl() + new.crl()
    server = replace(new.credentials(new.server(), before, after), ca=ca, crl=crl)
    for authority, own in ((old, before), (new, after)):
        client = replace(authority.credentials(own), ca=ca, crl=crl)
        _, channel, run = connect(Case(server, client))
        run()
        assert channel.session_count == 1


def test_a_client_opens_only_once_its_certificate_is_accepted() -> None:
    """In TLS 1.3 the client's handshake is complete although the worker will refuse it."""
    client, server, _ = connect(unlisted_client(Authority()))
    client.receive(sent(server.receive(PEER, client.hello())))
    client.request(1, b"ask")
    assert client.state is ClientState.FIN_SENT
