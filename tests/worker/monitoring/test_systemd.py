"""What a real worker tells the service manager, over a real socket of the kind that systemd makes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from securesplit.worker.monitoring.systemd import Notifier
from securesplit_testing.serving import process
from securesplit_testing.timing import took_less_than

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is for Linux")


class Manager:
    """The listening end of ``NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(20.0)

    def until(self, wanted: str, within_s: float = 20.0) -> list[str]:
        """All messages up to the one that begins so."""
        found, end = [], time.monotonic() + within_s
        while time.monotonic() < end:
            found.append(self._socket.recv(4_096).decode())
            if found[-1].startswith(wanted):
                return found
        raise AssertionError(found)

    def falls_silent(self) -> bool:
        """Whether nothing comes for 1.5 s, after what was on its way; else something comes every second."""
        self._socket.settimeout(1.5)
        try:
            for _ in range(5):
                self._socket.recv(4_096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(20.0)
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    name = f"@securesplit-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    made = Manager("\0" + name[1:] if name.startswith("@") else name)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    yield made
    made.close()


def test_it_says_ready_alive_reloading_and_stopping(certs: Path, manager: Manager) -> None:
    with process(certs) as worker:
        manager.until("READY=1\nSTATUS=serving")
        manager.until("WATCHDOG=1")
        worker.signal(signal.SIGHUP)
        said = manager.until("RELOADING=1\nMONOTONIC_USEC=")[-1]
        assert int(said.rpartition("=")[2]) <= time.monotonic() * 1e6
        manager.until("READY=1\nSTATUS=serving")
        (certs / "crl.pem").write_text("nothing")
        worker.signal(signal.SIGHUP)
        assert "the last reload failed" in manager.until("READY=1")[-1]
        worker.signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert worker.wait() == 0


@pytest.mark.parametrize("manager", ["file"], indirect=True)
def test_a_loop_that_stands_still_says_nothing(certs: Path, manager: Manager) -> None:
    with process(certs) as worker:
        manager.until("WATCHDOG=1")
        worker.signal(signal.SIGSTOP)
        assert manager.falls_silent()
        worker.signal(signal.SIGCONT)
        manager.until("WATCHDOG=1")


def test_without_a_service_manager_nothing_happens(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"}):
        notifier = Notifier(environment)
        notifier.ready("serving")
        notifier.alive()
        notifier.stopping()
        notifier.close()


def test_a_manager_that_reads_nothing_does_not_hold_us_up(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1"})
    start = time.monotonic()
    for _ in range(2_000):
        notifier.alive()
    took_less_than(2.0, start)
    notifier.close()
    manager.close()
