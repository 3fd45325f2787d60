"""Alive and ready: what a front's state means for a probe."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from securesplit.errors import CredentialError, TrustError
from securesplit.pki.credentials import Credentials, trusts_until
from securesplit.transport.connection import Timeouts
from securesplit.worker.monitoring import probes
from securesplit.worker.monitoring.probes import why_not_alive, why_not_ready
from securesplit_testing.channels import Authority, World
from securesplit_testing.serving import now, release, running, wait_until


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


def test_it_stays_ready_while_one_of_two_cas_and_its_list_are_good() -> None:
    old, new = Authority(), Authority()
    fresh, ended = new.crl(), old.crl(now() - timedelta(days=30), days=1)
    server = World().server_credentials
    assert trusts_until(replace(server, ca=old.pem, crl=ended + fresh)) < now(), "the other CA's list is of no use"
    assert trusts_until(replace(server, ca=old.pem + new.pem, crl=ended)) < now(), "nor is a CA without a list"
    assert trusts_until(replace(server, ca=old.pem + new.pem, crl=ended + fresh)) > now()
    assert trusts_until(replace(server, ca=new.pem, crl=new.crl(now() - timedelta(days=30), days=1) + fresh)) > now()
