"""Addresses as people write them."""

from __future__ import annotations

import socket

import pytest

from securesplit.errors import ConfigError, UnreachableError
from securesplit.transport.endpoint import LOOPBACK, Endpoint, is_loopback, network_of

LINK, NAME = socket.if_nameindex()[0]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp://127.0.0.1:5555", "127.0.0.1", 5555),
        ("tcp://clinic.example:1", "clinic.example", 1),
        ("tcp://[::1]:65535", "::1", 65535),
        ("tcp://[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("tcp://[fe80::1%br-lan.100]:80", "fe80::1%br-lan.100", 80),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int) -> None:
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port) == (host, port)
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "text",
    ["", "5555", "host:5555", "tcp://host", "tcp://:5555", "tcp://::1:5555", "tcp://host:65536", "tcp://host:0", "tcp://*:5",
     "http://host:5555", "ipc:///tmp/x", "tcp://host:5555/", "tcp://ho st:5555"],
)  # fmt: skip
def test_anything_else_is_an_error_with_a_hint(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (("tcp://clinic:5555", "tcp://Clinic:5555", "tcp://CLINIC.:05555"), "tcp://clinic:5555"),
        (("tcp://bücher.example:1", "tcp://XN--bcher-kva.example.:1"), "tcp://xn--bcher-kva.example:1"),
        (("tcp://[fe80::1%Eth0]:1", "tcp://[FE80:0::0001%Eth0]:1"), "tcp://[fe80::1%Eth0]:1"),
        (("tcp://127.0.0.1:1",), "tcp://127.0.0.1:1"),
        (("tcp://a..b:1", "tcp://A..b:1"), "tcp://a..b:1"),
        (("tcp://[fe80::1%1%2]:1",), "tcp://[fe80::1%1%2]:1"),
    ],
)
def test_one_host_written_in_several_ways_is_one(texts: tuple[str, ...], found: str) -> None:
    """A worker that is not asked under one of them would else be under another."""
    assert {str(Endpoint.parse(text).in_one_spelling) for text in texts} == {found}


def test_wildcards_are_for_listening() -> None:
    assert Endpoint.parse("tcp://*:0", listening=True) == Endpoint("*", 0)


def test_a_name_becomes_all_its_addresses_and_an_address_stays() -> None:
    assert Endpoint("127.0.0.1", 1).resolve() == [Endpoint("127.0.0.1", 1)]
    assert Endpoint("127.0.0.1", 1) in Endpoint("localhost", 1).resolve()
    with pytest.raises(UnreachableError, match="no address"):
        Endpoint("no-such-host.invalid", 1).resolve()


def test_a_name_of_a_link_local_address_keeps_the_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **named: look_up(f"fe80::1%{NAME}", *rest, **named))
    assert Endpoint("worker.local", 5555).resolve() == [Endpoint(f"fe80::1%{LINK}", 5555)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "::1", "::1%lo"])
def test_loopback_addresses_are_told_from_all_others(host: str) -> None:
    assert is_loopback(host)
    assert not any(map(is_loopback, ("localhost", "::", "192.0.2.1", "")))


@pytest.mark.parametrize(
    ("address", "counted_by"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("2001:db8:1:3::", "2001:db8:1:3::"),
        ("fe80::1%lo", "fe80::"),
        ("::1", "::"),
        ("", ""),
    ],
)
def test_peers_are_counted_by_what_one_machine_has(address: str, counted_by: str) -> None:
    assert network_of(address) == counted_by


def test_an_address_that_is_taken_cannot_be_listened_on_twice() -> None:
    with Endpoint(LOOPBACK, 0).listen(1, "--port") as first, pytest.raises(ConfigError, match=r"--port.*in use"):
        Endpoint(*first.getsockname()).listen(1, "--port")
