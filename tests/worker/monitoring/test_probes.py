"""Alive and ready: what a front's state means for a probe."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from securesplit.errors import CredentialError
from securesplit.pki.credentials import Credentials
from securesplit.worker.monitoring import probes
from securesplit.worker.monitoring.probes import why_not_alive, why_not_ready
from securesplit_testing.serving import now, running, wait_until


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
        assert why_not_ready(status, now() + timedelta(days=2)) == "the certificate has expired"
        assert why_not_ready(replace(status, tails={"busy": 1, "resting": 1}), now()) == ""
        assert why_not_ready(replace(status, tails={"starting": 2}), now()) == "no tail can compute"
        worker.front.stop(5.0)
        assert why_not_ready(worker.front.status(), now()) == "draining"
