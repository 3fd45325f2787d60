"""The private worker inside another program."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from securesplit.errors import BundleError, ConfigError
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.transport.connection import Connection
from securesplit.worker import EmbeddedWorker, embedded
from securesplit_testing.clock import WallClock
from securesplit_testing.serving import IDENTITY, release, serve_engine, wait_until
from securesplit_testing.timing import took_less_than


def test_it_serves_loopback_only_and_leaves_nothing_behind() -> None:
    with EmbeddedWorker(served=serve_engine()) as worker:
        assert worker.endpoint.startswith("tcp://127.0.0.1:")
        pids = worker.front.pool.pids
        with Connection([worker.endpoint], worker.client_credentials, IDENTITY) as connection:
            assert connection.request(release(4)).logit == 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(
    "behind", [timedelta(days=100), timedelta(days=-100)], ids=["runs for months", "clock set back"]
)
def test_its_certificates_end_with_the_program(behind: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hour there is a new handshake, so its peers look at them again and again."""
    monkeypatch.setattr(embedded, "datetime", WallClock(behind))
    with EmbeddedWorker(served=serve_engine()) as worker:
        with Connection([worker.endpoint], worker.client_credentials, IDENTITY) as connection:
            assert connection.request(release(4)).logit == 4


@pytest.mark.parametrize("interpreter", [None, "", "/nowhere/python"])
def test_a_program_that_embeds_python_is_told_what_is_missing(
    interpreter: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter)
    with pytest.raises(ConfigError, match="no Python to start tails with") as caught:
        EmbeddedWorker(served=serve_engine()).__enter__()
    assert "sys.executable" in caught.value.hint
    assert not [thread for thread in threading.enumerate() if thread.name == "securesplit-front"]


def test_a_device_s_bundle_is_told_of_before_a_photo_is_asked_about(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_FOLDER, tmp_path / "device", ignore=shutil.ignore_patterns("tail.tflite"))
    with pytest.raises(BundleError, match=r"has no tail\.tflite"):
        EmbeddedWorker(tmp_path / "device").__enter__()


def test_it_does_not_wait_for_its_tail() -> None:
    start = time.monotonic()
    with EmbeddedWorker(served=serve_engine(load_s=0.5)) as worker:
        took_less_than(0.5, start)
        assert worker.front.pool.ready == 0
        wait_until(lambda: worker.front.pool.ready == 1)


def test_it_is_used_once() -> None:
    worker = EmbeddedWorker(served=serve_engine())
    with worker:
        with pytest.raises(ConfigError, match="was started before"), worker:
            pass
        with Connection([worker.endpoint], worker.client_credentials, IDENTITY) as connection:
            assert connection.request(release(4)).logit == 4
    with pytest.raises(ConfigError, match="was started before"), worker:
        pass


def test_a_broken_bundle_is_told_at_the_start(tmp_path: Path) -> None:
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(BundleError), EmbeddedWorker(folder):
            pass


def test_two_of_them_do_not_trust_each_other() -> None:
    from securesplit.errors import TrustError

    with EmbeddedWorker(served=serve_engine()) as one, EmbeddedWorker(served=serve_engine()) as other:
        with Connection([one.endpoint], other.client_credentials, IDENTITY) as connection:
            with pytest.raises(TrustError):
                connection.request(release(1))


def test_it_must_be_entered() -> None:
    with pytest.raises(RuntimeError, match="with statement"):
        _ = EmbeddedWorker(served=serve_engine()).endpoint


def test_a_tail_process_loads_no_keys_and_no_user_interface() -> None:
    look = "import sys, securesplit.worker.tail; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
    assert not {"cryptography", "OpenSSL", "click", "PIL", "tensorflow", "asyncio"} & set(loaded)


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", None, True, 1_025])
def test_a_number_of_tails_that_makes_no_sense_is_refused(workers: Any) -> None:
    with pytest.raises(ConfigError, match="workers") as caught:
        EmbeddedWorker(served=serve_engine(), workers=workers)
    assert caught.value.hint


def test_whatever_keeps_it_from_starting_is_raised_where_it_is_started() -> None:
    """And not in its thread, whose error nobody could catch."""
    with pytest.raises(AttributeError), EmbeddedWorker(served="engines:mine"):  # type: ignore[arg-type]
        pass
