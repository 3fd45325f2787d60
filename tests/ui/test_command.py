"""``securesplit ui`` as a user starts and ends it."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from securesplit.cli import ui
from securesplit.cli.main import run
from securesplit.ui.guard import TOKEN_HEADER
from tests.ui.conftest import MOLE


def _status(address: str) -> int:
    host, _, path = address.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status
    finally:
        connection.close()


def _ask(address: str, photo: bytes) -> None:
    """Open the address as a browser does, and ask about a photo."""
    host, _, path = address.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("GET", f"/{path}")
    opened = connection.getresponse()
    token = re.search(r'securesplit-token" content="([\w-]+)"', opened.read().decode())
    assert token is not None
    cookie = (opened.getheader("Set-Cookie") or "").partition(";")[0]
    headers = {"Cookie": cookie, "Origin": f"http://{host}", TOKEN_HEADER: token[1]}
    connection.request("POST", "/api/photos", photo, headers)
    connection.getresponse().read()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_ends_without_a_word(tmp_path: Path, ending: signal.Signals) -> None:
    arguments = ["ui", "--embedded", "--no-browser", "--state", str(tmp_path)]
    command = [sys.executable, "-m", "securesplit", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            first = process.stdout.readline().strip()
            assert first.startswith("http://127.0.0.1:")
            assert _status(first) == 200
            second = process.stdout.readline().strip()
            assert second != first
            assert _status(first) == 403
            process.send_signal(ending)
            assert process.wait(10) == 0
            assert process.stdout.read() == ""
            assert process.stderr.read().count("\n") == 1
        finally:
            process.kill()


HELD = """import sys, time
from securesplit.device.pipeline import DiagnosisPipeline
def hold(self, *_, **__):
    print("at the head", file=sys.stderr, flush=True)
    time.sleep(60)
DiagnosisPipeline.prepare = hold
from securesplit.__main__ import main
main()
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait_for_a_photo_at_the_head(tmp_path: Path, ending: signal.Signals) -> None:
    arguments = ["ui", "--embedded", "--no-browser", "--state", str(tmp_path)]
    command = [sys.executable, "-c", HELD, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with ThreadPoolExecutor(1) as threads:
                asked = threads.submit(_ask, process.stdout.readline().strip(), MOLE)
                assert any("at the head" in line for line in process.stderr)
                process.send_signal(ending)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1)  # the first one waits
                process.send_signal(ending)
                assert process.wait(10) == 128 + ending
                with pytest.raises((http.client.HTTPException, OSError)):
                    asked.result()
        finally:
            process.kill()


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code = run(["ui", "--embedded", "--no-browser", "--state", str(tmp_path), "--port", str(port)])
    assert code == 2
    said = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "--port" in said


def test_missing_packages_are_named_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ui, "PACKAGES", ("json", "not_installed_anywhere"))
    assert run(["ui", "--embedded"]) == 2
    said = capsys.readouterr().err
    assert "(not_installed_anywhere)" in said
    assert "pip install 'securesplit[ui]'" in said


def test_missing_keys_are_said_before_anything_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["ui", "--no-browser"]) == 5
    said = capsys.readouterr()
    assert said.out == ""
    assert "keygen" in said.err
