"""The systemd unit: valid, hardened, and not so hardened that the worker cannot live in it."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from securesplit.cli import settings
from securesplit.cli.main import all_commands
from securesplit.cli.tail_worker import tail_worker
from securesplit.pki import issuing
from securesplit.worker.settings import WorkerSettings
from securesplit_testing.serving import now, wait_until
from tests.conftest import REPO
from tests.integration.conftest import run_command

FOLDER = REPO / "deploy" / "systemd"
UNIT = FOLDER / "securesplit-tail.service"
START = "/opt/securesplit/bin/securesplit --config /etc/securesplit/worker.toml tail-worker"
MOST_EXPOSURE = 1.5  # of 10, by systemd-analyze security; a unit without any of this has 9.6

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs Debian's package systemd")


def service() -> dict[str, list[str]]:
    """The section [Service]: every value of every key."""
    found: dict[str, list[str]] = {}
    text = UNIT.read_text().split("[Service]")[1].split("[Install]")[0]
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists in place of the one that is not installed here."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/securesplit/bin/securesplit", sys.executable))
    return path


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@needs_systemd
def test_systemd_finds_nothing_wrong_with_it(unit: Path) -> None:
    done = analyze("verify", unit)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=often"))
    assert "Failed to parse" in analyze("verify", unit).stderr, "it would have been found"


@needs_systemd
def test_systemd_calls_its_exposure_low(unit: Path) -> None:
    report = analyze("security", "--offline=yes", unit).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", report)
    assert found is not None
    assert float(found.group(1)) <= MOST_EXPOSURE, report


def test_the_unit_runs_as_its_own_user_and_stops_and_reloads() -> None:
    unit = service()
    assert unit["ExecStart"] == [START]
    assert unit["User"] == unit["Group"] == ["securesplit"]
    assert (FOLDER / "securesplit.sysusers").read_text().startswith("u securesplit ")
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert float(unit["TimeoutStopSec"][0]) > WorkerSettings("").drain_s
    assert unit["Restart"] == ["always"]
    assert not {key for key in unit if key.startswith("RestartPrevent")}, "each exit code may be that of what passes"
    before = UNIT.read_text().split("[Service]")[0]
    assert "StartLimitIntervalSec=0\n" in before, "five starts are over before a network is up"
    assert re.search(r"^After=.*\btime-sync\.target", before, re.MULTILINE), "certificates are judged by the clock"


def test_settings_are_sound_and_paths_are_those_of_the_unit(tmp_path: Path) -> None:
    installed = tmp_path / "worker.toml"
    installed.write_bytes((FOLDER / "worker.toml").read_bytes())
    loaded = settings.load(installed, {}, all_commands, "tail-worker")
    assert not loaded.problems
    assert loaded.of(tail_worker)["certs"] == Path("/etc/securesplit/certs")
    audit = Path(tomllib.loads((FOLDER / "worker.toml").read_text())["tail-worker"]["session-log"])
    assert audit.parent == Path("/var/log") / service()["LogsDirectory"][0]
    rotation = (FOLDER / "securesplit.logrotate").read_text()
    assert f"{audit.parent}/*{audit.suffix}" in rotation
    assert f"systemctl try-reload-or-restart {UNIT.name}\n" in rotation, "a reload of a stopped service is an error"


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="needs Debian's package logrotate")
def test_logrotate_and_a_reload_lose_no_session(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """The shipped rule, with paths and user of here and a signal in place of systemctl, on a real worker."""
    certs, log, port = tmp_path / "certs", tmp_path / "sessions.jsonl", free_port()
    issuing.create(certs, server_names=["127.0.0.1"], clients=["device"], days=1, now=now())
    rule = (FOLDER / "securesplit.logrotate").read_text().replace("/var/log/securesplit", str(tmp_path))
    rule = re.sub(r"^ +(su|create) .*\n", "", rule, flags=re.MULTILINE)
    command = [
        sys.executable,
        "-m",
        "securesplit",
        "tail-worker",
        "--bind",
        f"tcp://127.0.0.1:{port}",
        "--workers",
        "1",
    ]
    worker = subprocess.Popen([*command, "--certs", certs, "--session-log", log], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(port), 60.0)
        ask = ("doctor", "--connect", f"tcp://127.0.0.1:{port}", "--certs", certs)
        assert run_command(*ask).returncode == 0
        wait_until(lambda: '"opened"' in log.read_text())
        (tmp_path / "rule").write_text(
            rule.replace("systemctl try-reload-or-restart securesplit-tail.service", f"kill -HUP {worker.pid}")
        )
        (tmp_path / "rule").chmod(0o644)
        rotate = ["logrotate", "--force", "--state", tmp_path / "state", tmp_path / "rule"]
        subprocess.run(rotate, check=True, timeout=60)
        wait_until(log.exists)
        assert run_command(*ask).returncode == 0
        wait_until(lambda: '"opened"' in log.read_text())
    finally:
        worker.terminate()
        worker.wait(20)
    assert (tmp_path / "sessions.jsonl.1").read_text().count('"opened"') == 1
    assert log.read_text().count('"ended"') == 2


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@needs_systemd
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs Debian's package strace")
@pytest.mark.timeout(240)
def test_every_system_call_of_a_serving_worker_is_allowed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """No systemd runs here, so the calls of a worker that starts, serves, reloads and drains are compared instead."""
    certs, calls, port = tmp_path / "certs", tmp_path / "calls", free_port()
    issuing.create(certs, server_names=["127.0.0.1"], clients=["device"], days=1, now=now())
    worker = [sys.executable, "-m", "securesplit", "tail-worker", "--bind", f"tcp://127.0.0.1:{port}", "--workers", "1"]
    shown = ["--certs", certs, "--metrics", "127.0.0.1:0", "--session-log", tmp_path / "audit.jsonl"]
    trace = ["strace", "--follow-forks", "--quiet=all", "--summary-only", "--summary-columns=name", "--output", calls]
    tracer = subprocess.Popen([*trace, *worker, *shown], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(port) or tracer.poll() is not None, 90.0)
        asked = run_command("doctor", "--connect", f"tcp://127.0.0.1:{port}", "--certs", certs, timeout_s=120)
        if tracer.poll() is not None:
            pytest.skip("tracing is not permitted here")
        assert asked.returncode == 0, asked.stdout
        children = Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGHUP)
        time.sleep(2.0)
        os.kill(int(children[0]), signal.SIGTERM)
        assert tracer.wait(60) == 0
    finally:
        tracer.kill()
        tracer.wait()
    made = set(re.findall(r"^(\w+)$", calls.read_text(), re.MULTILINE)) - {"syscall", "total"}
    assert {"execve", "epoll_wait", "fsync", "sendto", "seccomp"} <= made
    if os.geteuid() == 0:
        made -= {"capset"}  # made to give up capabilities, and only where there are some; the service has none
    assert made - allowed() == set()


def allowed() -> set[str]:
    """The calls that the unit's filters let pass."""
    found: set[str] = set()
    for value in service()["SystemCallFilter"]:
        names = set().union(*(members(name) for name in value.lstrip("~").split()))
        found = found - names if value.startswith("~") else found | names
    return found


def members(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    lines = [line.strip() for line in analyze("syscall-filter", name).stdout.splitlines()[1:]]
    return set().union(*(members(line) for line in lines if line and not line.startswith("#")))


def test_the_unit_has_no_key_twice_by_mistake() -> None:
    parser = configparser.ConfigParser(strict=True, allow_no_value=True, interpolation=None)
    text = re.sub(r"^SystemCallFilter=~.*\n", "", UNIT.read_text(), flags=re.MULTILINE)
    parser.read_string(text)
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
