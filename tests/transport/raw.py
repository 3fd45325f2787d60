"""A bare ZMTP 3 peer over a TCP socket, for all that a stock socket would not send."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from securesplit.transport.zmtp import GREETING, encode


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
    peer.sendall(hello)
    return peer


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
