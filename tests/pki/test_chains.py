"""Chains with intermediates: each CA in them is checked for revocation, on both sides, in open sessions too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Refused, Request, Send
from securesplit.channel.server import ServerChannel
from securesplit.cli.checks.certificates import CertsCheck
from securesplit.errors import TrustError
from securesplit_testing.channels import PEER, sent
from tests.channel.test_refusals import Case, connect
from tests.pki.chains import Clinic


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
    from securesplit.errors import CredentialError

    with pytest.raises(CredentialError, match="the revocation list ended 3 days ago"):
        Clinic().side("client", workers=100)


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
