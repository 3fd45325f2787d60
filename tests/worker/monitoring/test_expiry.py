"""What ends soon is warned of in the log, from the same days on as `doctor` does, and shown as a metric."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from securesplit.pki import issuing, keystore
from securesplit.pki.credentials import ends
from securesplit.worker.monitoring.expiry import ExpiryWatch
from securesplit_testing.health import metrics
from securesplit_testing.serving import now, process, wait_until


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.args["what"] for record in caplog.records if isinstance(record.args, dict)]
    caplog.clear()
    return found


def test_expiry_warns_daily_from_30_days_and_for_a_ca_from_120(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    issuing.create(tmp_path / "certs", server_names=["127.0.0.1"], clients=["device"], days=90, now=now())
    credentials = keystore.load_server(tmp_path / "certs", now=now())
    when = ends(credentials)
    assert when["server"] < when["revocation-list"] < when["ca"]
    clock = Clock(now())
    watch = ExpiryWatch(credentials, clock)
    watch.look()
    assert warned(caplog) == []
    clock.at = when["server"] - timedelta(days=30) + timedelta(minutes=1)
    watch.look()
    assert warned(caplog) == ["server"]
    clock.at += timedelta(hours=23)
    watch.look()
    assert warned(caplog) == []
    clock.at += timedelta(hours=2)
    watch.look()
    assert warned(caplog) == ["server"]
    clock.at = when["revocation-list"] - timedelta(days=29)
    watch.look()
    assert warned(caplog) == ["server", "revocation-list"]
    clock.at = when["ca"] - timedelta(days=119)
    watch.look()
    assert warned(caplog) == ["server", "ca", "revocation-list"]


def test_a_clock_that_is_set_back_is_judged_anew(certs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A machine that woke with a clock of years ahead, which is set right a moment later."""
    caplog.set_level(logging.WARNING)
    credentials = keystore.load_server(certs, now=now())
    clock = Clock(now() + timedelta(days=4000))
    watch = ExpiryWatch(credentials, clock)
    watch.look()
    assert warned(caplog) == ["server", "ca", "revocation-list"]
    clock.at = credentials.expires_at - timedelta(hours=3)
    watch.look()
    assert warned(caplog) == ["server", "revocation-list"]
    clock.at += timedelta(hours=1)
    watch.look()
    assert warned(caplog) == [], "once a day by the clock that is right"


@pytest.mark.parametrize(
    ("hours", "said"),
    [(49, "ends in 2 days"), (25, "ends in 1 day,"), (1, "ends within a day,"), (-1, "has ended, on")],
)
def test_a_warning_counts_the_days_and_says_when_it_is_too_late(
    certs: Path, caplog: pytest.LogCaptureFixture, hours: int, said: str
) -> None:
    credentials = keystore.load_server(certs, now=now())
    ExpiryWatch(credentials, Clock(credentials.expires_at - timedelta(hours=hours))).look()
    assert any(f"server {said}" in record.getMessage() for record in caplog.records)


def test_new_credentials_end_the_warnings(certs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    watch = ExpiryWatch(keystore.load_server(certs, now=now()))
    watch.look()
    assert warned(caplog) == ["server", "revocation-list"]
    issuing.create(tmp_path / "new", server_names=["127.0.0.1"], clients=["device"], days=90, now=now())
    watch.use(keystore.load_server(tmp_path / "new", now=now()))
    watch.look()
    assert warned(caplog) == []


def test_a_worker_warns_when_it_starts_and_shows_when_it_ends(certs: Path) -> None:
    with process(certs, metrics="127.0.0.1:0") as worker:
        end = keystore.load_server(certs, now=now()).expires_at
        assert metrics(worker.metrics)["expiry_timestamp_seconds{of=server}"] == end.timestamp()
        wait_until(lambda: any("server ends within a day, on" in line for line in worker.log))
        time.sleep(1.2)  # it looks once a second
        assert sum("server ends within" in line for line in worker.log) == 1, "once a day"


def test_while_two_cas_are_trusted_the_first_that_ends_counts(certs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    issuing.create(other, server_names=["127.0.0.1"], clients=["device"], days=90, now=now() - timedelta(days=10))
    (certs / "ca.crt").write_bytes((certs / "ca.crt").read_bytes() + (other / "ca.crt").read_bytes())
    both = keystore.load_server(certs, now=now())
    alone = keystore.load_server(other, now=now())
    assert ends(both)["ca"] == ends(alone)["ca"]
