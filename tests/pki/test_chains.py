"""Chains with intermediates: each CA in them is checked for revocation, on both sides, in open sessions too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Refused, Request, Send
from securesplit.channel.server import ServerChannel
from securesplit.cli.checks.certificates import CertsCheck
from securesplit.errors import CredentialError, TrustError
from securesplit.pki import credentials
from securesplit.pki.credentials import Credentials
from securesplit.pki.profile import Identity
from securesplit_testing.channels import NOW, PEER, sent
from tests.channel.test_refusals import Case, connect
from tests.pki.chains import Clinic, authority


def checked(server: Credentials, now: datetime) -> Credentials:
    """What a worker loads from the same files at another time."""
    parts = {name: getattr(server, name) for name in ("certificate", "private_key", "ca", "crl", "allowed_clients")}
    return credentials.check(**parts, side="server", now=now)


def refusal(case: Case) -> tuple[TrustError, str]:
    """What the device's user reads, and the worker's reason."""
    client, server, run = connect(case)
    with pytest.raises(TrustError) as caught:
        run()
    assert server.session_count == 0
    client, server, _ = connect(case)
    try:
        client.receive(sent(server.receive(PEER, client.hello())))
    except TrustError:
        return caught.value, ""
    answer = server.receive(PEER, client.request(1, b"ask"))
    assert isinstance(answer, Send)
    return caught.value, answer.reason


def test_chains_with_intermediates_and_several_crls_work() -> None:
    clinic = Clinic()
    _, server, run = connect(Case(clinic.side("server"), clinic.side("client")))
    run()
    assert server.session_count == 1


def test_a_device_refuses_a_worker_whose_intermediate_was_revoked() -> None:
    clinic = Clinic()
    clinic.revoked.append(clinic.workers)
    error, _ = refusal(Case(clinic.side("server"), clinic.side("client")))
    assert "a CA that the worker's certificate comes from was revoked" in error.message
    assert "do not use this worker" in error.hint


def test_a_worker_refuses_a_device_whose_intermediate_was_revoked() -> None:
    clinic = Clinic()
    clinic.revoked.append(clinic.devices)
    error, reason = refusal(Case(clinic.side("server"), clinic.side("client")))
    assert "was revoked, or a CA that it comes from" in error.message
    assert reason == "revoked"


def test_a_leaf_revoked_by_its_intermediate_is_refused() -> None:
    clinic = Clinic()
    clinic.revoked += [clinic.client]
    assert refusal(Case(clinic.side("server"), clinic.side("client")))[1] == "revoked"
    clinic.revoked = [clinic.server]
    error, _ = refusal(Case(clinic.side("server"), clinic.side("client")))
    assert "the worker's certificate was revoked" in error.message


@pytest.mark.parametrize("name", ["root", "workers"])
def test_a_device_without_the_list_of_a_ca_in_the_chain_says_so(name: str) -> None:
    clinic = Clinic()
    clinic.unlisted.append(getattr(clinic, name))
    error, _ = refusal(Case(clinic.side("server"), clinic.side("client")))
    assert "no revocation list of a CA in the worker's chain" in error.message
    assert "one list after the other" in error.hint


@pytest.mark.parametrize("name", ["root", "devices"])
def test_a_worker_without_the_list_of_a_ca_in_the_chain_says_so(name: str) -> None:
    clinic = Clinic()
    complete = clinic.side("client")
    clinic.unlisted.append(getattr(clinic, name))
    error, reason = refusal(Case(clinic.side("server"), complete))
    assert "or has no revocation list of it" in error.message
    assert reason == "no-crl"


def test_an_expired_crl_of_an_intermediate_is_refused() -> None:
    with pytest.raises(CredentialError, match="the revocation list ended 3 days ago"):
        Clinic().side("client", workers=100)


def with_workers(clinic: Clinic, *, life: timedelta, key: ec.EllipticCurvePrivateKey) -> Credentials:
    """A worker that shows another certificate of the CA that issued its own."""
    shown = authority("Clinic workers", clinic.root, path_length=0, life=life, key=key)
    certificate = clinic.server.certificate_pem + shown.certificate_pem
    return checked(replace(clinic.side("server"), certificate=certificate), now=NOW - timedelta(minutes=4))


def test_a_certificate_is_good_no_longer_than_the_cas_that_it_comes_from() -> None:
    """OpenSSL lets a CA issue what outlives it."""
    clinic, end = Clinic(), NOW - timedelta(minutes=2)
    server = with_workers(clinic, life=end - NOW, key=clinic.workers.key)
    assert "expired" in refusal(Case(server, clinic.side("client")))[0].message
    assert server.expires_at == credentials.ends(server)["server"].until == end
    assert [until for _, until in credentials.trust_spans(server)] == [end]
    told = "the CA CN=Clinic workers, which the server certificate comes from, expired moments ago"
    with pytest.raises(CredentialError, match=told):
        checked(server, now=NOW)


@pytest.mark.parametrize("name", ["root", "workers"])
def test_what_came_along_with_a_chain_may_have_ended(name: str) -> None:
    """As a root that an older one had signed, or the certificate of an intermediate before its renewal."""
    clinic, old = Clinic(), authority("Old root", path_length=2)
    own: Identity = getattr(clinic, name)
    signed_by = old if name == "root" else clinic.root
    called = own.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    ended = authority(str(called), signed_by, path_length=1, life=timedelta(hours=-1), key=own.key)
    server = clinic.side("server")
    more = replace(server, certificate=server.certificate + ended.certificate_pem)
    assert checked(more, now=NOW).expires_at == server.expires_at
    assert credentials.ends(more) == credentials.ends(server)
    _, channel, run = connect(Case(more, clinic.side("client")))
    run()
    assert channel.session_count == 1


@dataclass
class Open:
    """A session that was opened while all was well."""

    clinic: Clinic
    server: ServerChannel
    client: ClientChannel

    def ask(self) -> object:
        return self.client.receive(self.answer(self.server.receive(PEER, self.client.request(2, b"again"))))

    def answer(self, event: object) -> bytes:
        if isinstance(event, Request):
            return self.server.seal_reply(event.session, event.ref, b"answer")
        return sent(event)


@pytest.fixture
def session() -> Open:
    clinic = Clinic()
    client, server, run = connect(Case(clinic.side("server"), clinic.side("client")))
    run()
    return Open(clinic, server, client)


def test_a_reload_ends_open_sessions_of_a_revoked_intermediate(session: Open) -> None:
    assert session.server.reload(session.clinic.side("server")) == 0
    session.clinic.revoked.append(session.clinic.workers)
    assert session.server.reload(session.clinic.side("server")) == 0, "another branch of the clinic"
    session.clinic.revoked.append(session.clinic.devices)
    assert session.server.reload(session.clinic.side("server")) == 1
    assert isinstance(session.ask(), Refused)


def test_a_reload_ends_open_sessions_whose_list_is_gone(session: Open) -> None:
    session.clinic.unlisted.append(session.clinic.devices)
    assert session.server.reload(session.clinic.side("server")) == 1


def test_a_reload_ends_sessions_of_a_ca_no_longer_trusted(session: Open) -> None:
    other = Clinic(root=Clinic().root)
    other.client, other.devices = session.clinic.client, session.clinic.devices
    assert session.server.reload(other.side("server")) == 1


def test_doctor_finds_a_revoked_intermediate(tmp_path_factory: pytest.TempPathFactory) -> None:
    clinic = Clinic()
    folder = clinic.write(tmp_path_factory.mktemp("good") / "certs")
    assert [f for f in CertsCheck(folder, "device", datetime.now(UTC)).run() if f.level == "error"] == []
    clinic.revoked.append(clinic.devices)
    folder = clinic.write(tmp_path_factory.mktemp("revoked") / "certs")
    errors = [f.message for f in CertsCheck(folder, "device", datetime.now(UTC)).run() if f.level == "error"]
    assert len(errors) == 1
    assert "revoked" in errors[0]
