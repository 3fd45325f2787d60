"""What a real worker shows on its health port while real requests, refusals and deaths happen to it."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from securesplit.channel.limits import Limits
from securesplit.channel.sessions import Ended
from securesplit.errors import SecureSplitError, TrustError, WorkerError
from securesplit.pki import keystore
from securesplit.transport.connection import Connection, Timeouts
from securesplit.worker import front
from securesplit.worker.monitoring.counters import Counters, Histogram
from securesplit.worker.monitoring.prometheus import WorkerCollector
from securesplit.worker.resources import ResidentMemory, resident_bytes
from securesplit.worker.settings import PoolSettings
from securesplit_testing.channels import World
from securesplit_testing.engines import DEADLY, RAISING
from securesplit_testing.health import get, metrics
from securesplit_testing.serving import IDENTITY, Process, now, process, release, running, serve_engine, wait_until
from tests.conftest import REPO

LOOPBACK = "127.0.0.1:0"


def connect(worker: Process, certs: Path, name: str = "device", **options: object) -> Connection:
    return Connection([worker.endpoint], keystore.load_client(certs, name, now=now()), IDENTITY, **options)


def test_requests_are_counted_by_outcome_and_stage_time(certs: Path) -> None:
    with process(certs, "Moody", pause_s=0.03, metrics=LOOPBACK) as worker, connect(worker, certs) as connection:
        for n in range(5):
            connection.request(release(n))
        for bad in (RAISING, DEADLY):
            with pytest.raises(WorkerError):
                connection.request(release(bad))
        wait_until(lambda: metrics(worker.metrics)["tails{state=idle}"] == 1)
        seen = metrics(worker.metrics)
    assert seen["requests_total{outcome=done}"] == 5
    assert seen["requests_total{outcome=poison}"] == 2
    assert seen["tail_deaths_total{how=died}"] == 3
    assert seen["tail_starts_total"] == 4
    assert seen["handshakes_total"] == seen["sessions"] == 1
    assert seen["batch_size_count"] == 5 + 1 + 3
    assert seen["batch_size_sum"] == seen["batch_size_count"]
    for stage in ("queue", "tail", "worker"):
        assert seen[f"stage_seconds_count{{stage={stage}}}"] == 5
    assert 5 * 0.03 <= seen["stage_seconds_sum{stage=tail}"] <= seen["stage_seconds_sum{stage=worker}"]
    assert seen["stage_seconds_bucket{le=0.025,stage=tail}"] == 0
    assert seen["queue_jobs"] == seen["in_flight_jobs"] == seen["draining"] == 0
    assert seen["queue_limit_jobs"] == 1_024
    assert seen["tails{state=idle}"] == 1
    assert seen["build_info{bundle=sha256:" + IDENTITY.hex() + ",version=0.1.0}"] == 1
    for of in ("server", "revocation-list", "ca"):
        assert seen[f"expiry_timestamp_seconds{{of={of}}}"] > time.time()
    assert seen["tails_resident_memory_bytes"] > 5e6
    assert seen["process_resident_memory_bytes"] > 5e6
    assert seen["front_busy_seconds_total"] > 0


def test_metrics_count_refusals_busy_and_revoked_by_reason(certs: Path) -> None:
    timeouts = Timeouts(total_s=20.0)
    with process(certs, pause_s=0.1, metrics=LOOPBACK) as worker:
        with connect(worker, certs, timeouts=timeouts) as device:
            device.request(release(1))
            keystore.revoke(certs, "device", now=now())
            worker.signal(signal.SIGHUP)
            wait_until(lambda: metrics(worker.metrics)["sessions"] == 0)
            with pytest.raises(SecureSplitError):
                device.request(release(2))
        wait_until(lambda: metrics(worker.metrics).get("refused_frames_total{reason=revoked}", 0) >= 1)
        seen = metrics(worker.metrics)
    assert seen["sessions_ended_total{reason=not-allowed}"] == 1
    assert seen["reloads_total{result=done}"] == 1
    assert seen["reloads_total{result=failed}"] == 0


def test_a_reload_that_failed_is_shown_until_one_is_done(certs: Path) -> None:
    """However long ago it was: a device that was revoked with the new files is still let in."""
    with process(certs, metrics=LOOPBACK) as worker:
        good = (certs / "crl.pem").read_bytes()
        assert metrics(worker.metrics)["last_reload_successful"] == 1
        for content, state in ((b"nothing", 0), (good, 1)):
            (certs / "crl.pem").write_bytes(content)
            worker.signal(signal.SIGHUP)
            wait_until(lambda state=state: metrics(worker.metrics)["last_reload_successful"] == state)


def test_busy_answers_are_counted_by_their_cause() -> None:
    with running(serve_engine("Sum", pause_s=0.05), queue_limit=2, max_batch=1) as worker:
        connections = [worker.connect() for _ in range(6)]
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(lambda n: connections[n].request(release(n)), range(6)))
        for connection in connections:
            connection.close()
        assert worker.front.counters.turned_away["queue-full"] > 0
        assert worker.front.counters.requests["done"] == 6


def test_a_device_that_does_not_trust_this_worker_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as all of them, once their revocation lists have ended: the worker would say nothing at all."""
    monkeypatch.setattr(front, "Limits", partial(Limits, half_open_s=0.1))
    ours, theirs = World(), World()
    with running(keys=(ours.server_credentials, theirs.client_credentials)) as worker, worker.connect() as device:
        with pytest.raises(TrustError, match="a CA that this device does not trust"):
            device.request(release(1))
        wait_until(lambda: worker.front.counters.refused["unfinished"] == 1)
        assert sum(worker.front.counters.refused.values()) == 1


def test_every_reason_is_counted_from_0_on_and_documented() -> None:
    """Of a series that begins at 1 Prometheus sees no increase: the first refusal would show nowhere."""
    page = WorkerCollector(Counters(), bundle_id="", pool=PoolSettings(), ends=dict).page(None).decode()
    code = "".join((REPO / "securesplit" / file).read_text() for file in REFUSING)
    said = set(re.findall(r'(?:Drop\(|drop\(peer, |Send\(.*\), |_refusals\[)"([a-z-]+)"', code))
    assert {"malformed", "bundle", "bad-tag", "peer-memory", "unfinished"} <= said
    counted = set(re.findall(r'refused_frames_total\{reason="([a-z-]+)"\} 0.0', page))
    assert said | {"draining", "handshake-crowd"} <= counted
    section = (REPO / "docs" / "operations.md").read_text().split("### Why messages are refused")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", "".join(rows))) == counted
    ended = set(re.findall(r'sessions_ended_total\{reason="([a-z-]+)"\} 0.0', page))
    assert ended == {why.value for why in Ended}


REFUSING = ("channel/server.py", "transport/peers.py", "transport/server.py", "worker/front.py")


def test_it_is_ready_when_its_tails_are_and_not_while_it_drains(certs: Path) -> None:
    with process(certs, pause_s=1.0, metrics=LOOPBACK) as worker, ThreadPoolExecutor(1) as threads:
        assert get(worker.metrics, "/readyz") == (200, "ok\n")
        assert get(worker.metrics, "/livez") == (200, "ok\n")
        assert metrics(worker.metrics)["ready"] == 1
        with connect(worker, certs) as connection:
            asked = threads.submit(connection.request, release(3))
            wait_until(lambda: metrics(worker.metrics)["in_flight_jobs"] == 1)
            worker.signal(signal.SIGTERM)
            wait_until(lambda: get(worker.metrics, "/readyz")[0] == 503)
            assert get(worker.metrics, "/readyz") == (503, "draining\n")
            assert get(worker.metrics, "/livez") == (200, "ok\n")
            seen = metrics(worker.metrics)
            assert (seen["draining"], seen["ready"]) == (1, 0)
            assert asked.result(10).logit == 3
        assert worker.wait() == 0
        assert [line.partition("draining")[2] for line in worker.log if "draining" in line] == [
            ", since somebody asked: 1 request to finish"
        ]
        assert not [line for line in worker.log if "Traceback" in line]


def test_it_is_unready_while_it_starts_and_when_no_tail_is_left(certs: Path) -> None:
    with process(certs, "Moody", workers=2, metrics=LOOPBACK) as worker:
        one, other = worker.tails()
        os.kill(one, signal.SIGSTOP)
        os.kill(one, signal.SIGKILL)
        assert get(worker.metrics, "/readyz")[0] == 200, "one tail that dies does not take the worker away"
        os.kill(other, signal.SIGKILL)
        reasons = set()

        def gone_and_back() -> bool:
            status, text = get(worker.metrics, "/readyz")
            reasons.add(text)
            return status == 200 and len(reasons) > 1

        wait_until(gone_and_back)
        assert "no tail can compute\n" in reasons


def test_tails_that_the_system_hides_are_summed_up_all_the_same(certs: Path) -> None:
    """As systemd's ProtectProc does it: a tail that nobody may trace has no folder in /proc then."""
    if subprocess.run([*HIDDEN, "true"], capture_output=True, check=False).returncode:
        pytest.skip("not root, or no unshare and setpriv to be as under systemd")
    with process(certs, metrics=LOOPBACK, inside=HIDDEN) as worker:
        wait_until(lambda: get(worker.metrics, "/readyz")[0] == 200)
        (tail,) = worker.tails()
        seen = ["nsenter", f"--mount=/proc/{worker.pid}/ns/mnt", *UNPRIVILEGED, "test", "-e"]
        assert subprocess.run([*seen, "/proc/self"], check=False).returncode == 0
        assert subprocess.run([*seen, f"/proc/{tail}"], check=False).returncode == 1, "it is hidden"
        shown = metrics(worker.metrics)["tails_resident_memory_bytes"]
        assert abs(shown / resident_bytes(tail) - 1) < 0.2


UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
_MOUNT = 'mount -t proc -o hidepid=invisible,gid=65534 proc /proc && exec "$@"'
HIDDEN = ("unshare", "--mount", "sh", "-c", _MOUNT, "sh", *UNPRIVILEGED)
"""A program without privileges that sees only processes which it may trace (proc(5))."""


def test_no_sum_is_shown_where_the_memory_of_a_tail_is_not_known() -> None:
    """Of one that has just ended, or where there is no /proc."""
    with running() as worker:
        wait_until(lambda: worker.front.status().was_ready)
        shown = WorkerCollector(Counters(), bundle_id="", pool=PoolSettings(), ends=dict, session_log=None)
        status = worker.front.status()
        assert b"\nsecuresplit_tails_resident_memory_bytes " in shown.page(status)
        part = shown.page(replace(status, tail_bytes=(*status.tail_bytes, 0)))
        assert b"\nsecuresplit_tails_resident_memory_bytes " not in part
        assert b"\nsecuresplit_queue_jobs " in part


def test_the_memory_of_a_process_that_has_ended_is_none() -> None:
    with subprocess.Popen(["sleep", "60"]) as ending:
        memory = ResidentMemory(ending.pid)
        assert memory.read() > 0
        ending.kill()
    assert memory.read() == 0, "and not that of another one that has its number"
    memory.close()
    assert memory.read() == ResidentMemory(ending.pid).read() == 0


def test_the_front_hardly_notices_who_asks(certs: Path) -> None:
    """The pages are made in another thread; the CPU that they take is not the front's."""

    def front_cpu_s() -> float:
        return int(Path(f"/proc/{worker.pid}/schedstat").read_text().split()[0]) / 1e9

    with process(certs, metrics=LOOPBACK) as worker:
        idle_since, before = time.monotonic(), front_cpu_s()
        time.sleep(1.0)
        idle = (front_cpu_s() - before) / (time.monotonic() - idle_since)
        in_all = metrics(worker.metrics)["process_cpu_seconds_total"]
        asked_since, before = time.monotonic(), front_cpu_s()
        for _ in range(100):
            get(worker.metrics, "/metrics")
        of_front = front_cpu_s() - before - idle * (time.monotonic() - asked_since)
        pages = metrics(worker.metrics)["process_cpu_seconds_total"] - in_all
    assert of_front < 0.2 * pages


def test_a_histogram_counts_each_value_once_at_its_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 14.0


def test_counting_costs_a_few_microseconds_a_request() -> None:
    counters = Counters()

    def count(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            counters.computed(0.001, 0.002, 0.004)
            counters.batch.observe(1)
            counters.requests["done"] += 1
            counters.turned(1.0, 1.001)
        return (time.perf_counter() - start) / times

    assert min(count(2_000) for _ in range(5)) < 20e-6
    assert math.isclose(counters.busy_s, 10_000 * 0.001)
