"""The session log: on its own, and of a real worker under rotation and with a disk that is full."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import pytest

from securesplit.errors import ConfigError, SecureSplitError
from securesplit.pki import keystore
from securesplit.transport.connection import Connection
from securesplit.worker.monitoring.session_log import SessionLog
from securesplit.worker.settings import WorkerSettings
from securesplit_testing.health import metrics
from securesplit_testing.serving import IDENTITY, Process, now, process, release, wait_until
from tests.integration.conftest import run_command


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def ask(worker: Process, certs: Path, times: int = 1, name: str = "device") -> None:
    with Connection([worker.endpoint], keystore.load_client(certs, name, now=now()), IDENTITY) as connection:
        for n in range(times):
            assert connection.request(release(n)).logit == n


def test_it_says_who_when_how_many_and_why_it_ended(certs: Path, tmp_path: Path) -> None:
    path = tmp_path / "sessions.jsonl"
    with process(certs, session_log=path) as worker:
        ask(worker, certs, 3)
        ask(worker, certs, 1, "other")
        keystore.revoke(certs, "device", now=now())
        worker.signal(signal.SIGHUP)
        wait_until(lambda: "not-allowed" in path.read_text())
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    seen = lines(path)
    assert [line["event"] for line in seen] == ["started", "opened", "opened", "ended", "ended", "stopped"]
    issued = [text.split() for text in (certs / "issued.txt").read_text().splitlines()]
    prints = [(words[3], words[0]) for words in issued if not words[3].startswith("server:")]
    assert [(line["client"], line["fingerprint"]) for line in seen[1:3]] == prints
    assert [(line["client"], line["requests"], line["why"]) for line in seen[3:5]] == [
        ("device", 3, "not-allowed"),
        ("other", 1, "worker-stopped"),
    ]
    assert [line["session"] for line in seen[1:3]] == [line["session"] for line in seen[3:5]]
    times = [line["time"] for line in seen]
    assert times == sorted(times)


@pytest.mark.parametrize("taken", ["--bind", "--metrics"])
def test_a_second_worker_that_cannot_listen_ends_no_session_of_the_first(
    certs: Path, tmp_path: Path, taken: str
) -> None:
    """Given by mistake, or by a service that is started beside it again and again: a `started` would end them all."""
    path = tmp_path / "sessions.jsonl"
    with process(certs, session_log=path, metrics="127.0.0.1:0") as worker:
        ask(worker, certs)
        wait_until(lambda: "opened" in path.read_text())
        there = {"--bind": "tcp://127.0.0.1:0", "--metrics": "127.0.0.1:0"}
        there[taken] = {"--bind": worker.endpoint, "--metrics": worker.metrics}[taken]
        second = run_command("tail-worker", "--certs", certs, "--session-log", path, *chain(*there.items()))
        assert (second.returncode, "Address already in use" in second.stderr) == (2, True)
        assert [line["event"] for line in lines(path)] == ["started", "opened"]


@pytest.mark.parametrize("keys", [{}, {"own_credentials": "yes"}])
def test_sighup_starts_a_new_file_after_rotation(keys: dict[str, str], certs: Path, tmp_path: Path) -> None:
    path, old = tmp_path / "sessions.jsonl", tmp_path / "sessions.jsonl.1"
    with process(certs, session_log=path, **keys) as worker:
        ask(worker, certs)
        wait_until(lambda: len(lines(path)) == 2)
        path.rename(old)
        ask(worker, certs)
        wait_until(lambda: len(lines(old)) == 3)
        worker.signal(signal.SIGHUP)
        wait_until(path.exists)
        ask(worker, certs)
        wait_until(lambda: len(lines(path)) == 1)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert [line["event"] for line in lines(old)] == ["started", "opened", "opened"]
    assert [line["event"] for line in lines(path)] == ["opened", *["ended"] * 3, "stopped"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_is_reported_and_does_not_stop_serving(certs: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the same call fails, in the middle of a line."""
    path = tmp_path / "sessions.jsonl"
    with process(certs, session_log=path, metrics="127.0.0.1:0") as worker:
        ask(worker, certs)
        wait_until(lambda: len(lines(path)) == 2)
        _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 40, hard))
        for _ in range(5):
            ask(worker, certs)
        wait_until(lambda: metrics(worker.metrics)["audit_lines_total{result=lost}"] == 5)
        assert len([line for line in worker.log if "session log cannot be written" in line]) == 1
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (hard, hard))
        ask(worker, certs)
        wait_until(lambda: "lost" in path.read_text())
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    whole = []
    for line in path.read_text().splitlines():
        try:
            whole.append(json.loads(line))
        except ValueError:
            assert line.startswith('{"time": '), "the line that the full disk cut"
    assert [line["lines"] for line in whole if line["event"] == "lost"] == [5]
    assert [line["event"] for line in whole if line["event"] != "ended"] == [
        "started", "opened", "lost", "opened", "stopped",
    ]  # fmt: skip
    assert sum(line["event"] == "ended" for line in whole) == 7


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SessionLog]:
    made = SessionLog(tmp_path / "sessions.jsonl")
    yield made
    made.close()


def test_lines_go_to_the_file_that_took_its_place_without_a_signal(log: SessionLog, tmp_path: Path) -> None:
    """As where it is rotated while the worker starts: systemd reloads only what runs."""
    path, old = tmp_path / "sessions.jsonl", tmp_path / "sessions.jsonl.1"
    names = iter(("first", "moved away", "replaced", "again"))

    def record() -> None:
        known = log.written
        log.record(next(names))
        wait_until(lambda: log.written == known + 1)

    record()
    path.rename(old)
    record()
    assert [line["event"] for line in lines(old)] == ["first", "moved away"], "whoever rotates makes the new file"
    path.touch(mode=0o640)
    record()
    record()
    assert [line["event"] for line in lines(old)] == ["first", "moved away"]
    assert [line["event"] for line in lines(path)] == ["replaced", "again"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_recording_never_waits_and_what_is_over_is_counted(log: SessionLog, tmp_path: Path) -> None:
    start = time.perf_counter()
    for n in range(30_000):
        log.record("opened", n=n)
    each = (time.perf_counter() - start) / 30_000
    assert each < 200e-6
    log.close()
    found = lines(tmp_path / "sessions.jsonl")
    told = sum(int(line["lines"]) for line in found if line["event"] == "lost")
    kept = [line["n"] for line in found if line["event"] == "opened"]
    assert kept == sorted(kept)
    assert len(kept) + log.lost == 30_000
    assert told <= log.lost


def test_many_threads_may_record(log: SessionLog, tmp_path: Path) -> None:
    threads = [threading.Thread(target=lambda: [log.record("opened", n=n) for n in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(lines(tmp_path / "sessions.jsonl")) == 1_600


def test_settings_take_the_file_by_its_earlier_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = WorkerSettings("tcp://127.0.0.1:0", audit_log=tmp_path / "log")
    assert settings == WorkerSettings("tcp://127.0.0.1:0", session_log=tmp_path / "log")
    assert replace(settings, workers=2).session_log == tmp_path / "log"
    assert caplog.messages == ["hint: audit_log= is now session_log="]


def test_an_existing_file_is_appended_to_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "sessions.jsonl"
    path.write_text('{"event": "before"}\n')
    path.chmod(0o644)
    made = SessionLog(path)
    made.record("after")
    made.close()
    assert [line["event"] for line in lines(path)] == ["before", "after"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("left", [b'{"event": "en', b'{"event": "before"}\n\0\0\0'], ids=["half a line", "a power cut"])
def test_what_a_killed_worker_left_of_a_line_takes_none_with_it(left: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sessions.jsonl"
    path.write_bytes(left)
    made = SessionLog(path)
    made.record("started")
    wait_until(lambda: made.written == 1)
    path.write_bytes(path.read_bytes() + left)  # as another worker does, on a disk that is full now
    made.record("opened")
    made.close()
    found = path.read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in found if b'"time"' in line] == ["started", "opened"]
    assert made.written == 2


def test_a_disk_that_fails_while_it_is_looked_at_ends_no_log(
    log: SessionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network disk does that has forgotten an open file (ESTALE)."""

    def failing(*_: object) -> NoReturn:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def record() -> None:
        known = log.written
        log.record("opened")
        wait_until(lambda: log.written == known + 1)

    for name in ("fstat", "pread", "fchmod"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, failing)
            with pytest.raises(ConfigError, match=r"cannot be opened \(Stale file handle\)"):
                SessionLog(tmp_path / "another.jsonl")
            log.reopen()
            record()
        record()
    assert len(lines(tmp_path / "sessions.jsonl")) == 6


def test_a_mistaken_path_spoils_no_file(certs: Path, tmp_path: Path) -> None:
    for file in filter(Path.is_file, [*certs.rglob("*")]):
        before = file.read_bytes(), file.stat().st_mode
        with pytest.raises(ConfigError, match="is no session log"):
            SessionLog(file)
        assert (file.read_bytes(), file.stat().st_mode) == before
    for name, cut in (("whole", b""), ("torn", b"\n"), ("after a power cut", b"\0" * 4096)):
        (tmp_path / name).write_bytes(cut)
        made = SessionLog(tmp_path / name)
        made.record("started")
        made.close()
        assert b'"event": "started"' in (tmp_path / name).read_bytes()


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    whys = {
        "link": "is a link",
        "pipe": "is not a file of this user",
        "missing/sessions.jsonl": "No such file",
        ".": "Is a directory",
    }
    for name, why in whys.items():
        with pytest.raises(ConfigError, match=f"session log .* .*{why}") as caught:
            SessionLog(tmp_path / name)
        assert caught.value.hint
        assert isinstance(caught.value, SecureSplitError)
    assert not (tmp_path / "elsewhere").exists()
