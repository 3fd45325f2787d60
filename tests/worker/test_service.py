"""A worker in a process of its own, from its ready line to its exit code, under real signals."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from securesplit.errors import ConfigError, TrustError, UnreachableError
from securesplit.pki import issuing, keystore
from securesplit.pki.watch import FileWatch
from securesplit.transport.connection import Connection
from securesplit.worker import service
from securesplit.worker.cores import usable_cores
from securesplit.worker.front import Front
from securesplit.worker.monitoring.probes import why_not_alive
from securesplit.worker.settings import PoolSettings, RaySettings, WorkerSettings, parse_workers
from securesplit_testing.clock import WallClock
from securesplit_testing.health import metrics
from securesplit_testing.serving import IDENTITY, Process, now, process, release, running, serve_engine, wait_until
from securesplit_testing.timing import took_less_than


@contextlib.contextmanager
def connect(worker: Process, certs: Path, name: str = "device") -> Iterator[Connection]:
    with Connection([worker.endpoint], keystore.load_client(certs, name, now=now()), IDENTITY) as connection:
        yield connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_was_accepted_and_ends_it_cleanly(certs: Path, number: int) -> None:
    with (
        process(certs, pause_s=0.8, metrics="127.0.0.1:0") as worker,
        ThreadPoolExecutor(1) as threads,
        connect(worker, certs) as connection,
    ):
        asked = threads.submit(connection.request, release(6))
        wait_until(lambda: metrics(worker.metrics)["in_flight_jobs"] == 1)
        tails = worker.tails()
        worker.signal(number)
        assert asked.result(10).logit == 6
        assert worker.wait() == 0
        assert tails
        assert not any(Path(f"/proc/{pid}").exists() for pid in tails)
        assert not [line for line in worker.log if "Traceback" in line]


def test_another_thread_than_the_main_one_is_refused_at_once(certs: Path) -> None:
    settings, before = WorkerSettings("tcp://127.0.0.1:0", certs=certs), threading.active_count()
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(ConfigError, match="main thread") as caught:
            threads.submit(service.serve, settings, on_ready=lambda _ready: None).result(30)
        assert threading.active_count() == before + 1
    assert "EmbeddedWorker" in caught.value.hint


def test_an_idle_worker_ends_at_once(certs: Path) -> None:
    with process(certs, workers=2) as worker:
        start = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        took_less_than(5.0, start, "a quarter of what a drain may take")


def test_a_second_signal_does_not_wait(certs: Path) -> None:
    with process(certs, pause_s=30.0, job_timeout_s=60.0) as worker, ThreadPoolExecutor(1) as threads:
        credentials = keystore.load_client(certs, now=now())
        with Connection([worker.endpoint], credentials, IDENTITY, timeout_s=3.0) as connection:
            asked = threads.submit(connection.request, release(6))
            time.sleep(0.5)
            worker.signal(signal.SIGTERM)
            time.sleep(0.3)
            start = time.monotonic()
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
            took_less_than(2.0, start)
            with pytest.raises(UnreachableError):
                asked.result(10)


def test_even_stopped_tails_do_not_outlive_a_killed_front(certs: Path) -> None:
    with process(certs, workers=2) as worker:
        tails = worker.tails()
        assert len(tails) == 2
        os.kill(tails[0], signal.SIGSTOP)
        worker.signal(signal.SIGKILL)
        wait_until(lambda: not any(_alive(pid) for pid in tails))


def test_signals_for_the_whole_group_are_for_the_front(certs: Path) -> None:
    with process(certs) as worker, connect(worker, certs) as connection:
        for pid in worker.tails():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(pid, number)
        before = worker.tails()
        assert connection.request(release(1)).logit == 1
        assert worker.tails() == before


@contextlib.contextmanager
def one_of_two_revoked(certs: Path) -> Iterator[tuple[Process, Connection, Connection]]:
    """A worker, a device with a session whose certificate has just been revoked, and another device with a session."""
    with process(certs) as worker, connect(worker, certs) as device, connect(worker, certs, "other") as other:
        assert device.request(release(1)).logit == 1
        assert other.request(release(2)).logit == 2
        keystore.revoke(certs, "device", now=now())
        yield worker, device, other


def test_sighup_revokes_an_open_session_within_a_second(certs: Path) -> None:
    with one_of_two_revoked(certs) as (worker, device, other):
        start = time.monotonic()
        worker.signal(signal.SIGHUP)
        wait_until(lambda: any("certificates reloaded" in line for line in worker.log))
        took_less_than(1.0, start)
        with pytest.raises(TrustError, match="revoked"):
            device.request(release(3))
        assert other.request(release(4)).logit == 4


def test_a_revocation_takes_effect_within_a_second(certs: Path) -> None:
    with one_of_two_revoked(certs) as (worker, device, other):
        start = time.monotonic()
        wait_until(lambda: _is_refused(device, "revoked"))
        took_less_than(1.0, start)
        assert other.request(release(4)).logit == 4
        wait_until(lambda: any("certificates reloaded" in line for line in worker.log))
        assert sum("certificates reloaded" in line for line in worker.log) == 1


def test_a_new_device_and_a_renewed_certificate_need_no_signal(certs: Path) -> None:
    with process(certs) as worker, connect(worker, certs) as device:
        assert device.request(release(1)).logit == 1
        issuing.create(certs, clients=["third"], days=1, now=now())
        issuing.renew(certs, days=1, now=now())
        wait_until(lambda: any("certificates reloaded" in line for line in worker.log))
        with connect(worker, certs, "third") as third:
            assert third.request(release(2)).logit == 2
        assert device.request(release(3)).logit == 3, "the session with the certificate before goes on"
        shown = keystore.load_server(certs, now=now()).expires_at
        assert str(shown.date()) in next(line for line in worker.log if "certificates reloaded" in line)


def test_a_worker_that_lets_nobody_in_says_so(certs: Path) -> None:
    (certs / "allowed-clients.txt").rename(certs / "elsewhere")
    with process(certs) as worker:
        wait_until(lambda: any("no device can connect" in line for line in worker.log))
        (certs / "elsewhere").rename(certs / "allowed-clients.txt")
        wait_until(lambda: any("certificates reloaded" in line for line in worker.log))
        with connect(worker, certs) as device:
            assert device.request(release(1)).logit == 1
        assert sum("no device can connect" in line for line in worker.log) == 1


def test_half_written_files_leave_the_old_ones_in_force(certs: Path) -> None:
    newcomer = keystore.load_client(certs, "other", now=now())
    with process(certs) as worker, connect(worker, certs) as device:
        assert device.request(release(1)).logit == 1
        whole = (certs / "crl.pem").read_bytes()
        (certs / "crl.pem").write_bytes(whole[: len(whole) // 2])
        (certs / "allowed-clients.txt").rename(certs / "elsewhere")
        wait_until(lambda: any("not reloaded, the old ones stay" in line for line in worker.log))
        with Connection([worker.endpoint], newcomer, IDENTITY) as connection:
            assert connection.request(release(2)).logit == 2
        (certs / "crl.pem").write_bytes(whole)
        (certs / "elsewhere").rename(certs / "allowed-clients.txt")
        wait_until(lambda: any("certificates reloaded" in line for line in worker.log))
        assert device.request(release(3)).logit == 3
        assert sum("not reloaded" in line for line in worker.log) == 1


def test_files_that_cannot_be_used_yet_are_used_once_they_can_be(
    certs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a clock that was a day behind and is set right; nobody touches the files again."""
    wall = WallClock(behind=timedelta(days=1))
    monkeypatch.setattr(service, "datetime", wall)
    monkeypatch.setattr(service, "_RETRY_S", 0.05)
    keys = keystore.load_server(certs, now=now()), keystore.load_client(certs, now=now())
    files = FileWatch(keystore.server_files(certs), settle_s=0.0, clock=time.monotonic)
    with running(keys=keys) as worker, service._reloads(worker.front, certs, files) as reload:
        reload()
        wait_until(lambda: "the server certificate is valid only from" in caplog.text)
        time.sleep(0.3)  # a few looks
        reloads = worker.front.counters.reloads
        assert reloads == {"done": 0, "failed": 1}, "what still fails is told once"
        wall.behind = timedelta()
        wait_until(lambda: reloads["done"] > 0)
        time.sleep(0.3)
        assert reloads == {"done": 1, "failed": 1}


def test_a_disk_that_hangs_holds_up_no_request(certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = keystore.load_server(certs, now=now()), keystore.load_client(certs, now=now())
    files = FileWatch(keystore.server_files(certs), settle_s=0.0, clock=time.monotonic)
    is_read, goes_on, load = threading.Event(), threading.Event(), keystore.load_server

    def slowly(folder: Path, *, now: datetime) -> keystore.Credentials:
        is_read.set()
        assert goes_on.wait(20)
        return load(folder, now=now)

    monkeypatch.setattr(keystore, "load_server", slowly)
    with running(keys=keys) as worker, service._reloads(worker.front, certs, files) as reload:
        with worker.connect() as device:
            reload()
            assert is_read.wait(20)
            assert device.request(release(1)).logit == 1
            assert why_not_alive(worker.front.status()) == ""
            goes_on.set()
            wait_until(lambda: worker.front.counters.reloads["done"] == 1)


def test_an_unknown_fault_of_reading_ends_the_front(certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would serve on, and no revocation would take effect any more."""
    front = Front("tcp://127.0.0.1:0", serve_engine(), keystore.load_server(certs, now=now()), PoolSettings(workers=1))
    files = FileWatch(keystore.server_files(certs), settle_s=0.0, clock=time.monotonic)
    monkeypatch.setattr(keystore, "load_server", lambda *_, **__: 1 // 0)
    with service._reloads(front, certs, files) as reload:
        reload()
        with pytest.raises(ZeroDivisionError):
            front.run()


def test_a_worker_whose_tails_cannot_start_says_so_and_ends(certs: Path) -> None:
    with process(certs, "broken") as worker:
        assert worker.wait() == 9
        assert worker.log[-2:] == ["error: tail.tflite was altered", "hint: fetch the bundle again"]


def test_a_worker_without_certificates_says_so_and_ends(tmp_path: Path) -> None:
    with process(tmp_path / "nothing") as worker:
        assert worker.wait() == 5
        assert any(line.startswith("hint: ") and "keygen" in line for line in worker.log)


def test_the_number_of_tails_is_a_number_or_auto() -> None:
    assert parse_workers("3") == 3
    assert parse_workers("auto") == usable_cores() >= 1
    for text in ("0", "-1", "many", "", "1.5", "9999"):
        with pytest.raises(ConfigError, match=re.escape(f"{text!r} is not a number of tails")):
            parse_workers(text)


def _is_refused(connection: Connection, why: str) -> bool:
    try:
        connection.request(release(3))
    except TrustError as error:
        return why in error.message
    return False


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_settings_of_a_program_are_checked_before_anything_starts(tmp_path: Path) -> None:
    given = WorkerSettings(
        "tcp://127.0.0.1:0", certs=str(tmp_path), bundle=str(tmp_path / "bundle"), metrics_hosts=["tail.example.org"]
    )
    assert (given.certs, given.bundle, given.session_log) == (tmp_path, tmp_path / "bundle", None)
    assert given.metrics_hosts == ("tail.example.org",)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *((WorkerSettings, "workers", value) for value in (-1, 1.5, 1025, "2", True)),
        *((WorkerSettings, "drain_s", value) for value in ("5", math.nan, math.inf, -1, None)),
        *((WorkerSettings, "bind", value) for value in (None, 5555, b"tcp://127.0.0.1:0")),
        *((WorkerSettings, "metrics", value) for value in (9464, b"127.0.0.1:0")),
        *((WorkerSettings, "metrics_anywhere", value) for value in ("no", None, 0)),
        *((WorkerSettings, "metrics_hosts", value) for value in ("tail.example.org", ["tail", 3], None, 3)),
        *((WorkerSettings, "credentials", value) for value in ("certs", Path("certs"))),
        *((WorkerSettings, "pool", value) for value in (None, {})),
        (WorkerSettings, "certs", 3),
        (WorkerSettings, "session_log", ""),
        *((PoolSettings, "max_batch", value) for value in (0, -1, 1.5, "8")),
        *(
            (PoolSettings, name, 0)
            for name in ("workers", "queue_limit", "client_limit", "session_limit", "max_deaths")
        ),
        *((PoolSettings, "job_timeout_s", value) for value in ("5", None, math.nan, -1)),
        *((PoolSettings, "confine", value) for value in ("no", None, 0)),
        *((PoolSettings, "pin", value) for value in ("no", None, 0)),
        (PoolSettings, "most_workers", 1025),
        (PoolSettings, "ray", "10.0.0.11:6379"),
        (RaySettings, "anywhere", "no"),
        (RaySettings, "address", None),
    ],
)
def test_a_setting_of_another_kind_is_refused_by_its_name(kind: Any, name: str, value: object) -> None:
    needed = {WorkerSettings: {"bind": "tcp://127.0.0.1:0"}, PoolSettings: {}, RaySettings: {"address": "10.0.0.11:1"}}
    with pytest.raises(ConfigError, match=name) as caught:
        kind(**needed[kind] | {name: value})
    assert caught.value.hint


def test_a_folder_that_cannot_be_entered_for_a_while_leaves_the_old_files_in_force(certs: Path, tmp_path: Path) -> None:
    """As one whose owner or disk is another for a moment; here the system refuses a link for its length."""
    (link := tmp_path / "link").symlink_to(certs)
    with process(link) as worker, connect(worker, certs) as device:
        assert device.request(release(1)).logit == 1
        link.unlink()
        link.symlink_to("x" * 300)
        wait_until(lambda: any("not reloaded, the old ones stay" in line for line in worker.log))
        with connect(worker, certs, "other") as other:
            assert other.request(release(2)).logit == 2
        link.unlink()
        link.symlink_to(certs)
        wait_until(lambda: any("certificates reloaded" in line for line in worker.log))
        assert device.request(release(3)).logit == 3
