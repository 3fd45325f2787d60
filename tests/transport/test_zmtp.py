"""ZMTP without sockets: messages come out whatever the pieces, and every bound holds before the body has come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securesplit.transport.zmtp import GREETING, MAX_PARTS, Connection, ZmtpError, encode
from tests.transport.raw import command, ready

MAX_BYTES = 1_000


def started(hello: bytes = GREETING + ready(b"REQ")) -> Connection:
    connection = Connection(b"ROUTER", (b"REQ", b"DEALER"), MAX_BYTES)
    assert connection.output() == GREETING
    connection.receive(hello, 0.0)
    assert connection.next_message() is None
    return connection


def take(connection: Connection, data: bytes, now_s: float = 0.0) -> list[list[bytes]]:
    connection.receive(data, now_s)
    messages = []
    while (message := connection.next_message()) is not None:
        messages.append(message)
    return messages


def take_each(connection: Connection, chunks: list[bytes]) -> None:
    for chunk in chunks:
        take(connection, chunk)


def test_the_handshake_is_answered() -> None:
    connection = started(GREETING)
    assert not connection.is_ready
    assert connection.output() == ready(b"ROUTER")
    assert take(connection, ready(b"DEALER")) == []
    assert connection.is_ready
    assert connection.output() == b""


def test_names_of_properties_have_no_case() -> None:
    """RFC 23: "property names are case-insensitive"."""
    assert started(GREETING + command(b"READY", b"\x0bSOCKET-type\0\0\0\x03REQ")).is_ready


@given(
    st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=3), max_size=6),
    st.lists(st.integers(1, 70), min_size=1),
)
def test_messages_come_out_whatever_the_pieces(messages: list[list[bytes]], sizes: list[int]) -> None:
    connection = Connection(b"ROUTER", (b"REQ",), MAX_BYTES)
    data, got, at, turn = GREETING + ready(b"REQ") + b"".join(map(encode, messages)), [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        got += take(connection, data[at : at + size])
        at, turn = at + size, turn + 1
    assert got == messages
    assert connection.held_bytes == 0


@pytest.mark.parametrize(
    "hello",
    [
        b"\x01\x00",  # ZMTP 1
        GREETING[:10] + b"\x01\x05",  # ZMTP 2
        b"GET / HTTP/1.1\r\n",
        GREETING[:12] + b"PLAIN".ljust(20, b"\0") + bytes(32),
        GREETING + encode([b"", b"before READY"]),
        GREETING + command(b"PING", bytes(2)),
        GREETING + ready(b"PUB"),
        GREETING + command(b"READY"),
        GREETING + command(b"READY", b"\x0bSocket-Type" + (1 << 31).to_bytes(4, "big") + b"REQ"),
        GREETING + command(b"READY", b"\xff"),
        GREETING + ready(b"REQ") * 2,
    ],
)
def test_who_does_not_shake_hands_properly_is_thrown_out(hello: bytes) -> None:
    connection = Connection(b"ROUTER", (b"REQ", b"DEALER"), MAX_BYTES)
    with pytest.raises(ZmtpError):
        take(connection, hello)


@pytest.mark.parametrize(
    "header",
    [
        b"\x01\x00" * MAX_PARTS,  # the last of these promises a fifth
        b"\x00" * 2 + b"\x08\x00",  # reserved flag
        b"\x02" + (MAX_BYTES + 1).to_bytes(8, "big"),
        b"\x01\xff" + bytes(255) + b"\x02" + (MAX_BYTES - 254).to_bytes(8, "big"),
        b"\x02" + (1 << 63).to_bytes(8, "big"),
        b"\x05\x05",  # a command with more to come
        b"\x06" + (1 << 20).to_bytes(8, "big"),  # READY, or any other, without end
        command(b"SUBSCRIBE", b"all"),
        command(b"PING", b"\0"),
        command(b"PING", bytes(19)),
        command(b"PONG"),
        command(b"ERROR", b"\0"),
        b"\x04\x00",
    ],
)
def test_a_bound_is_checked_before_the_body_has_come(header: bytes) -> None:
    connection = started()
    with pytest.raises(ZmtpError):
        take(connection, header)


def test_what_was_handed_over_is_held_no_longer() -> None:
    connection = started()
    take(connection, encode([b"", bytes(500)]) + b"\x00\x05ab")
    assert connection.held_bytes == 4


@pytest.mark.parametrize("parts", [[bytes(MAX_BYTES)], [b"", bytes(MAX_BYTES)], [bytes(300), bytes(MAX_BYTES - 300)]])
def test_a_message_may_be_as_long_as_the_bound(parts: list[bytes]) -> None:
    assert take(started(), encode(parts)) == [parts]


def test_endless_frames_end_by_count_or_by_bytes() -> None:
    for frame in (b"\x01\x00", b"\x01\xc8" + bytes(200), b"\x03" + (300).to_bytes(8, "big") + bytes(300)):
        connection = started()
        with pytest.raises(ZmtpError):
            take_each(connection, [frame] * (10 * MAX_BYTES // len(frame)))
        assert connection.held_bytes <= MAX_BYTES + len(frame)


def test_pings_are_answered_within_messages_and_budgeted() -> None:
    connection = started()
    connection.output()
    ping = command(b"PING", b"\0\x0acontext")
    assert take(connection, b"\x01\x00" + ping + b"\x00\x01x") == [[b"", b"x"]]
    assert connection.output() == command(b"PONG", b"context")
    for second in range(100):
        take(connection, ping, second + 1.0)
    with pytest.raises(ZmtpError, match="too many"):
        take(connection, ping * 100, 101.0)
    assert len(connection.output()) < 200 * len(ping)


def test_a_pong_is_taken_once_for_each_ping() -> None:
    connection = started()
    assert connection.ping() == command(b"PING", bytes(2))
    assert connection.awaits_pong
    take(connection, command(b"PONG"))
    assert not connection.awaits_pong
    with pytest.raises(ZmtpError):
        take(connection, command(b"PONG"))
