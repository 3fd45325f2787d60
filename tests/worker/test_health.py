"""The health port itself: who may reach it, and what slow, greedy and rude peers get."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from securesplit.errors import ConfigError
from securesplit.worker.health import HealthServer, Page
from tests.worker.pages import get


@contextlib.contextmanager
def serving(address: str = "127.0.0.1:0", *, anywhere: bool = False) -> Iterator[HealthServer]:
    server = HealthServer(address, {"/livez": lambda: Page(HTTPStatus.OK, b"ok\n")}, anywhere=anywhere)
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
def test_an_address_that_others_reach_is_refused_unless_it_is_wanted(address: str) -> None:
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
    assert "127.0.0.1:9090" in caught.value.hint


def test_a_taken_port_is_a_clear_error() -> None:
    with serving() as server, pytest.raises(ConfigError, match="cannot listen"):
        HealthServer(server.address, {})


def test_only_get_and_only_what_is_there() -> None:
    with serving() as server:
        assert get(server.address, "/nothing") == (404, "/livez\n")
        assert get(server.address, "/livez", method="POST")[0] == 405
        assert get(server.address, "/livez", method="HEAD") == (200, "")
        assert say(server.address, b"\x16\x03\x01\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_endless_and_silent_requests_are_dropped_and_others_served_meanwhile() -> None:
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
        assert time.monotonic() - start < 8.0
        assert get(server.address, "/livez") == (200, "ok\n")
