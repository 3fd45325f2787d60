"""The health port itself: who may reach it, and what slow, greedy and rude peers get."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from securesplit.errors import ConfigError
from securesplit.worker import healthcheck
from securesplit.worker.monitoring.http import HealthServer, Page
from securesplit_testing.health import dripping, get
from securesplit_testing.timing import took_less_than


@contextlib.contextmanager
def serving(
    address: str = "127.0.0.1:0", *, anywhere: bool = False, hosts: tuple[str, ...] = ()
) -> Iterator[HealthServer]:
    server = HealthServer(address, {"/livez": lambda: Page(HTTPStatus.OK, b"ok\n")}, anywhere=anywhere, hosts=hosts)
    try:
        yield server
    finally:
        server.close()


def say(address: str, data: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), 10.0) as peer:
        peer.sendall(data)
        found = b""
        with contextlib.suppress(ConnectionError):
            while more := peer.recv(65_536):
                found += more
        return found


@pytest.mark.parametrize("address", ["0.0.0.0:0", "*:0", "[::]:0", "192.0.2.1:9090"])
def test_a_reachable_address_is_refused_unless_requested(address: str) -> None:
    with pytest.raises(ConfigError, match="reached from other machines") as caught:
        HealthServer(address, {})
    assert "--metrics-anywhere" in caught.value.hint
    if address == "0.0.0.0:0":
        with serving(address, anywhere=True) as server:
            port = server.address.rpartition(":")[2]
            assert get(f"127.0.0.1:{port}", "/livez") == (200, "ok\n")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_every_loopback_address_will_do(address: str) -> None:
    with serving(address) as server:
        assert get(server.address, "/livez?from=here") == (200, "ok\n")


@pytest.mark.parametrize("address", ["", "9090", "127.0.0.1", "127.0.0.1:99999", "no such host:1", "nowhere.invalid:1"])
def test_what_is_no_address_is_a_clear_error(address: str) -> None:
    with pytest.raises(ConfigError, match="--metrics") as caught:
        HealthServer(address, {})
    assert "127.0.0.1:9464" in caught.value.hint


def test_a_taken_port_is_a_clear_error() -> None:
    with serving() as server, pytest.raises(ConfigError, match="cannot listen"):
        HealthServer(server.address, {})


def test_an_address_of_another_machine_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0") as caught:
        HealthServer("192.0.2.1:0", {}, anywhere=True)
    assert "an address of this machine" in caught.value.hint


def test_only_get_and_only_what_is_there() -> None:
    with serving() as server:
        assert get(server.address, "/nothing") == (404, "/livez\n")
        assert get(server.address, "/livez", method="POST")[0] == 405
        assert get(server.address, "/livez", method="HEAD") == (200, "")
        assert say(server.address, b"\x16\x03\x01\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_endless_and_silent_requests_delay_no_other() -> None:
    with serving() as server:
        host, _, port = server.address.rpartition(":")
        silent = [socket.create_connection((host, int(port)), 10.0) for _ in range(100)]
        start = time.monotonic()
        assert get(server.address, "/livez") == (200, "ok\n")
        assert say(server.address, b"GET / HTTP/1.1\r\n" + b"x" * 100_000) == b""
        for peer in silent:
            with contextlib.suppress(ConnectionError):
                assert peer.recv(1) == b"", "hung up, without a word"
            peer.close()
        took_less_than(8.0, start)
        assert get(server.address, "/livez") == (200, "ok\n")


def status(address: str, *hosts: str) -> int:
    """Of a request with these Host fields."""
    fields = "".join(f"Host: {host}\r\n" for host in hosts)
    return int(say(address, f"GET /livez HTTP/1.1\r\n{fields}\r\n".encode()).split(b" ")[1])


OURS = ["localhost", "localhost:9090", "LocalHost.", "127.0.0.1", "127.0.0.1:1", "127.8.9.1", "[::1]:9090", "[::1]"]
OTHERS = [
    "evil.example",
    "evil.example:9090",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "",
    "[::2]",
]


@pytest.mark.parametrize("host", OURS)
def test_loopback_is_asked_by_loopback_s_names(host: str) -> None:
    with serving() as server:
        assert status(server.address, host) == 200


@pytest.mark.parametrize("host", OTHERS)
def test_a_web_page_cannot_ask_by_a_name_of_its_own(host: str) -> None:
    """DNS rebinding: its name leads to our address, and the browser sends the name."""
    with serving() as server:
        assert status(server.address, host) == 421
        assert status(server.address, "localhost", host) == 421


def test_who_sends_no_host_is_no_browser() -> None:
    with serving() as server:
        assert say(server.address, b"GET /livez HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def own_address() -> str:
    """An address of this machine that is not loopback's; nothing is sent."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has loopback only")
        return str(probe.getsockname()[0])


def test_a_pod_answers_to_its_address_and_listed_names() -> None:
    with serving("0.0.0.0:0", anywhere=True, hosts=("tail.example.org",)) as server:
        reached = f"{own_address()}:{server.address.rpartition(':')[2]}"
        assert status(reached, reached) == 200
        assert status(reached, "tail.example.org:9090") == 200
        assert status(reached, "TAIL.example.org") == 200
        assert status(reached, "evil.example") == 421
        assert status(reached, "192.0.2.1") == 421


def ask(address: str, *arguments: str, out: int) -> int:
    """The health check as a process that writes to a descriptor, or, with -1, has none to write to."""
    command = ["sh", "-c", 'exec "$0" "$@" >&-'] if out < 0 else []
    return subprocess.run(
        [*command, sys.executable, "-m", "securesplit.worker.healthcheck", *arguments],
        env={**os.environ, "SECURESPLIT_METRICS": address},
        stdout=out if out >= 0 else None,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


def test_the_health_check_s_exit_code_survives_a_closed_pipe(tmp_path: Path) -> None:
    with serving() as server, Path("/dev/full").open("wb") as full, (tmp_path / "lines").open("w+b") as lines:
        assert [ask(server.address, "/livez", out=out) for out in (full.fileno(), -1, lines.fileno())] == [0, 0, 0]
        assert [ask(server.address, out=lines.fileno()), ask("", out=full.fileno()), ask("x:\n", out=-1)] == [1, 1, 1]
        assert [ask(server.address, *wrong, out=lines.fileno()) for wrong in (("/livez", "x"), ("--help",))] == [1, 1]
        said = (tmp_path / "lines").read_text().splitlines()
        assert said[:2] == ["ok", "/livez"], "the page, and which there are"
        assert [line.partition(":")[0] for line in said[2:]] == ["usage", "usage"]


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["status", "head", "body", "endless"],
)
def test_a_server_that_drips_has_so_long_for_all_of_its_answer(head: bytes) -> None:
    with dripping(head) as address:
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out"):
            healthcheck.fetch(address, "/metrics", within_s=0.3)
        took_less_than(3.0, start, "a byte every 50 ms came in time, each of them")


def test_the_health_check_shows_nothing_that_moves_a_terminal(tmp_path: Path) -> None:
    """Another program that listens there may answer anything."""
    body = b"\x1b[2Jok\x9b\xff\n"
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "lines").open("w+b") as lines:

        def answer() -> None:
            with listener.accept()[0] as peer:
                peer.recv(1_000)
                peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)

        stranger = threading.Thread(target=answer)
        stranger.start()
        ask(f"127.0.0.1:{listener.getsockname()[1]}", out=lines.fileno())
        stranger.join()
        assert (tmp_path / "lines").read_text() == "\\x1b[2Jok\\x9b\\xff\n"
