"""Alive and ready: what a front's state means for a probe."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from securesplit.errors import CredentialError, TrustError
from securesplit.pki import profile
from securesplit.pki.credentials import Credentials, ends, trust_spans
from securesplit.transport.connection import Timeouts
from securesplit.worker.monitoring import probes
from securesplit.worker.monitoring.probes import why_not_alive, why_not_ready
from securesplit_testing.channels import NOW, Authority, World
from securesplit_testing.serving import now, release, running, wait_until
from tests.pki.chains import Clinic


def test_a_stalled_loop_is_noticed_until_it_turns_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ALIVE_S", 0.5)
    over = threading.Event()

    def stand_still() -> Credentials:
        over.wait(60)
        raise CredentialError("nothing new")

    with running() as worker:
        wait_until(lambda: why_not_ready(worker.front.status(), now()) == "")
        worker.front.reload(stand_still)
        wait_until(lambda: why_not_alive(worker.front.status()) != "")
        assert "stands still" in why_not_ready(worker.front.status(), now())
        over.set()
        wait_until(lambda: why_not_alive(worker.front.status()) == "")


def test_it_is_ready_while_tails_live_and_certificates_hold() -> None:
    with running(workers=2) as worker:
        assert why_not_ready(worker.front.status(), now()).startswith("starting: 0 of 2")
        wait_until(lambda: worker.front.status().was_ready)
        status = worker.front.status()
        assert why_not_ready(status, now()) == ""
        assert why_not_ready(status, now() + timedelta(days=402)) == "the certificate has expired"
        assert why_not_ready(replace(status, tails={"busy": 1, "resting": 1}), now()) == ""
        assert why_not_ready(replace(status, tails={"starting": 2}), now()) == "no tail can compute"
        worker.front.stop(5.0)
        assert why_not_ready(worker.front.status(), now()) == "draining"


def test_it_is_not_ready_where_every_device_would_be_refused() -> None:
    """A worker beside it may have the new list: devices should go there."""
    world = World()
    server = world.server_credentials
    ended = replace(server, crl=world.authority.crl(now() - timedelta(days=30), days=1))
    with running(keys=(server, world.client_credentials)) as worker:
        wait_until(lambda: why_not_ready(worker.front.status(), now()) == "")
        worker.front.reload(lambda: ended)
        told = "no CA with a fresh revocation list is trusted"
        wait_until(lambda: why_not_ready(worker.front.status(), now()) == told)
        with worker.connect(timeouts=Timeouts(total_s=5.0)) as device, pytest.raises(TrustError, match="expired"):
            device.request(release(1))
        worker.front.reload(lambda: server)
        wait_until(lambda: why_not_ready(worker.front.status(), now()) == "")
        with worker.connect() as device:
            assert device.request(release(1)).logit == 1


def test_it_stays_ready_where_the_list_of_an_intermediate_has_ended() -> None:
    """Other CAs below the same root may have issued devices, too; the metrics tell of the list."""
    clinic = Clinic()
    server, device = clinic.side("server"), clinic.side("client")
    ended = replace(server, crl=clinic.crl(devices=100))
    with running(keys=(ended, device)) as worker:
        wait_until(lambda: why_not_ready(worker.front.status(), now()) == "")
        with worker.connect(timeouts=Timeouts(total_s=5.0)) as refused, pytest.raises(TrustError, match="expired"):
            refused.request(release(1))
        wait_until(lambda: worker.front.counters.refused["crl-expired"] > 0)
        assert why_not_ready(worker.front.status(), now()) == ""
        assert ends(ended)["revocation-list"].until < now()


def test_it_stays_ready_while_one_of_two_cas_and_its_list_are_good() -> None:
    old, new = Authority(), Authority()
    fresh, ended = new.crl(), old.crl(now() - timedelta(days=30), days=1)
    server = World().server_credentials
    early = new.crl(now() + timedelta(hours=6))

    def trusts(ca: bytes, crl: bytes) -> bool:
        return any(start <= now() < end for start, end in trust_spans(replace(server, ca=ca, crl=crl)))

    assert not trusts(old.pem, ended + fresh), "the other CA's list is of no use"
    assert not trusts(old.pem + new.pem, ended), "nor is a CA without a list"
    assert trusts(old.pem + new.pem, ended + fresh)
    assert trusts(new.pem, new.crl(now() - timedelta(days=30), days=1) + fresh)
    assert not trusts(old.pem + new.pem, ended + early)
    assert trusts(new.pem, fresh + early)


@pytest.mark.parametrize(
    ("ca", "crl", "crl_days", "span"),
    [
        (0, 0, 200, (0, 90)),  # all that the certificate has
        (-3640, 0, 200, (0, 10)),  # a CA has ten years
        (0, 0, 20, (0, 27)),  # a list lasts a week longer than is said
        (3, 0, 20, (3, 27)),
        (0, 5, 20, (5, 32)),
        (-9, -9, 20, (0, 18)),
    ],
)
def test_a_span_of_trust_is_what_certificate_ca_and_list_have_in_common(
    ca: int, crl: int, crl_days: int, span: tuple[int, int]
) -> None:
    authority = profile.new_ca(now=NOW + timedelta(days=ca))
    signed = profile.new_crl(authority, (), number=1, days=crl_days, now=NOW + timedelta(days=crl))
    ((start, end),) = trust_spans(replace(World().server_credentials, ca=authority.certificate_pem, crl=signed))
    found = start + profile.BACKDATING - NOW, end - NOW
    assert found == tuple(timedelta(days=days) for days in span)


def test_it_is_not_ready_before_its_certificate_or_list_begins() -> None:
    """The clock here is behind, or the CA machine's was ahead when it signed a list, as in another time zone."""
    world = World()
    early = replace(world.server_credentials, crl=world.authority.crl(now() + timedelta(hours=6)))
    told = "certificate, CA or revocation list is not valid yet"
    with running(keys=(world.server_credentials, world.client_credentials)) as worker:
        wait_until(lambda: why_not_ready(worker.front.status(), now()) == "")
        assert why_not_ready(worker.front.status(), now() - timedelta(hours=6)).startswith(told)
        worker.front.reload(lambda: early)
        wait_until(lambda: why_not_ready(worker.front.status(), now()).startswith(told))
        assert why_not_ready(worker.front.status(), now() + timedelta(hours=7)) == ""
        with worker.connect(timeouts=Timeouts(total_s=5.0)) as device, pytest.raises(TrustError, match="not valid yet"):
            device.request(release(1))
