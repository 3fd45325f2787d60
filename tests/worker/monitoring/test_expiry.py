"""What ends soon is warned of in the log, from the same time on as `doctor` does, and shown as a metric."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from securesplit.pki import issuing, keystore, profile
from securesplit.pki.credentials import ends
from securesplit.worker.monitoring.expiry import ExpiryWatch
from securesplit_testing.channels import NOW, Authority, World
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
    when = {what: life.until for what, life in ends(credentials).items()}
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
    assert warned(caplog) == ["server"]
    clock.at += timedelta(hours=1)
    watch.look()
    assert warned(caplog) == [], "by the clock that is right"


def test_what_has_not_begun_is_warned_of_once_until_it_begins(certs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A list of a CA machine whose clock is in another time zone: every device is refused for hours."""
    caplog.set_level(logging.WARNING)
    credentials = keystore.load_server(certs, now=now())
    clock = Clock(ends(credentials)["revocation-list"].start - timedelta(minutes=1))
    watch = ExpiryWatch(credentials, clock)
    watch.look()
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("the revocation list is not valid before ") for line in lines)
    assert f"and the clock here says {clock.at:%Y-%m-%d %H:%M} UTC" in lines[0]
    assert {record.event for record in caplog.records} == {"not-valid-yet"}  # type: ignore[attr-defined]
    caplog.clear()
    watch.look()
    assert warned(caplog) == []
    clock.at += timedelta(minutes=2)
    watch.look()
    assert warned(caplog) == []


def test_lists_of_several_cas_have_begun_when_all_have() -> None:
    one, other = Authority(), Authority()
    both = one.crl() + other.crl(NOW + timedelta(hours=6))
    begins = ends(replace(World().server_credentials, crl=both))["revocation-list"].start
    assert begins == NOW + timedelta(hours=6) - profile.BACKDATING


@pytest.mark.parametrize("days", [1, 2, 7, 29, 90])
def test_a_short_life_is_warned_of_in_its_last_third_in_time_to_renew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int
) -> None:
    """A notice of 30 days would warn of it all its life; a look once a day might miss the end."""
    caplog.set_level(logging.WARNING)
    issuing.create(tmp_path / "certs", server_names=["127.0.0.1"], clients=["device"], days=days, now=now())
    credentials = keystore.load_server(tmp_path / "certs", now=now())
    clock = Clock(now())
    watch = ExpiryWatch(credentials, clock)
    for what in ("server", "revocation-list"):
        life = ends(credentials)[what]
        assert life.renew_from - now() > (life.until - now()) * 0.66
        clock.at = life.renew_from - timedelta(minutes=1)
        watch.look()
        assert what not in warned(caplog)
        clock.at = life.renew_from + timedelta(minutes=1)
        watch.look()
        assert what in warned(caplog)
        clock.at = life.until - (life.until - life.renew_from) / 2
        watch.look()
        assert what in warned(caplog), "again, while there is time"


def test_the_first_time_to_renew_may_be_another_cas_than_the_first_end(
    certs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old CA of ten years ends in 100 days, a new one of 99 days before it."""
    old = profile.new_ca(now=now() - timedelta(days=3550)).certificate
    monkeypatch.setattr(profile, "CA_LIFETIME", timedelta(days=99))
    new = profile.new_ca(now=now()).certificate
    authorities = b"".join(one.public_bytes(Encoding.PEM) for one in (old, new))
    life = ends(replace(keystore.load_server(certs, now=now()), ca=authorities))["ca"]
    assert life.until == new.not_valid_after_utc < old.not_valid_after_utc
    assert life.renew_from == old.not_valid_after_utc - timedelta(days=120)


@pytest.mark.parametrize(
    ("hours", "said"),
    [(49, "ends in 2 days"), (25, "ends in 1 day,"), (1, "ends within a day,"), (-1, "has ended, on")],
)
def test_a_warning_counts_the_days_and_says_when_it_is_too_late(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, hours: int, said: str
) -> None:
    issuing.create(tmp_path / "certs", server_names=["127.0.0.1"], clients=["device"], days=90, now=now())
    credentials = keystore.load_server(tmp_path / "certs", now=now())
    ExpiryWatch(credentials, Clock(credentials.expires_at - timedelta(hours=hours))).look()
    assert any(f"the certificate {said}" in record.getMessage() for record in caplog.records)


def test_new_credentials_end_the_warnings(certs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    credentials = keystore.load_server(certs, now=now())
    watch = ExpiryWatch(credentials, clock := Clock(credentials.expires_at))
    watch.look()
    assert "server" in warned(caplog)
    clock.at = now()
    issuing.create(tmp_path / "new", server_names=["127.0.0.1"], clients=["device"], days=90, now=now())
    watch.use(keystore.load_server(tmp_path / "new", now=now()))
    watch.look()
    assert warned(caplog) == []


def test_a_worker_warns_when_it_starts_and_shows_when_it_ends(tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    begun = now() - timedelta(hours=20)
    issuing.create(certs, server_names=["127.0.0.1"], clients=["device"], days=1, now=begun)
    with process(certs, metrics="127.0.0.1:0") as worker:
        end = keystore.load_server(certs, now=now()).expires_at
        assert metrics(worker.metrics)["expiry_timestamp_seconds{of=server}"] == end.timestamp()
        assert metrics(worker.metrics)["renewal_timestamp_seconds{of=server}"] < time.time()
        wait_until(lambda: any("the certificate ends within a day, on" in line for line in worker.log))
        time.sleep(1.2)  # it looks once a second
        assert sum("the certificate ends within" in line for line in worker.log) == 1, "once a day"


def test_while_two_cas_are_trusted_the_first_that_ends_counts(certs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    issuing.create(other, server_names=["127.0.0.1"], clients=["device"], days=90, now=now() - timedelta(days=10))
    (certs / "ca.crt").write_bytes((certs / "ca.crt").read_bytes() + (other / "ca.crt").read_bytes())
    both = keystore.load_server(certs, now=now())
    alone = keystore.load_server(other, now=now())
    first, only = ends(both)["ca"], ends(alone)["ca"]
    assert (first.renew_from, first.until) == (only.renew_from, only.until)
