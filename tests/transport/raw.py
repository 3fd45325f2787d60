"""A bare ZMTP 3 peer over a TCP socket, for all that a stock socket would not send."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from securesplit.transport.zmtp import GREETING, Connection, encode


def command(name: bytes, data: bytes = b"") -> bytes:
    """A command, short or long."""
    body = bytes([len(name)]) + name + data
    return b"\x04" + bytes([len(body)]) + body if len(body) < 256 else b"\x06" + len(body).to_bytes(8, "big") + body


def ready(kind: bytes) -> bytes:
    return command(b"READY", b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind)


REQ = GREETING + ready(b"REQ")
ROUTER = GREETING + ready(b"ROUTER")
UNKNOWN = encode([b"", b"SSP1\x05\x00\x00\x00" + bytes(32)])
"""A request of no session, which a front answers with UNKNOWN_SESSION."""


def connect(endpoint: str, hello: bytes = REQ) -> socket.socket:
    host, port = endpoint.removeprefix("tcp://").split(":")
    peer = socket.create_connection((host, int(port)), 5.0)
    try:
        peer.sendall(hello)
    except OSError:
        peer.close()
        raise
    return peer


class Probe:
    """A peer that shakes hands, asks what needs no session, and answers PINGs."""

    def __init__(self, endpoint: str) -> None:
        self._zmtp = Connection(b"REQ", (b"ROUTER",), 1 << 20)
        self._peer = connect(endpoint, self._zmtp.output())
        self._now_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.close()

    def ask_ms(self) -> float:
        """Ask, and return how long the answer took, in milliseconds."""
        while not self._zmtp.is_ready:
            assert self._answer(once=True) is None
        start = time.perf_counter()
        self._peer.sendall(UNKNOWN)
        assert self._answer() is not None
        return (time.perf_counter() - start) * 1_000

    def _answer(self, *, once: bool = False) -> list[bytes] | None:
        while True:
            chunk = self._peer.recv(1 << 14)
            assert chunk, "the front hung up"
            self._now_s += 1.0
            self._zmtp.receive(chunk, self._now_s)
            message = self._zmtp.next_message()
            self._peer.sendall(self._zmtp.output())
            if message is not None or once:
                return message


def ends(peer: socket.socket, within_s: float) -> bool:
    """Read until the other end hangs up; False where it does not."""
    peer.settimeout(within_s)
    try:
        while peer.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def pour(peer: socket.socket, data: Callable[[], bytes], most_bytes: int) -> bool:
    """Send again and again until the other end hangs up; False where it takes `most_bytes`."""
    sent = 0
    peer.settimeout(10.0)
    with contextlib.suppress(OSError):
        while sent < most_bytes:
            chunk = data()
            peer.sendall(chunk)
            sent += len(chunk)
    return sent < most_bytes


@contextlib.contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen without any key; `serve` has each connection, which ends when it returns. Yields the endpoint."""
    server = socket.create_server(("127.0.0.1", 0))

    def one(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            serve(peer)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
