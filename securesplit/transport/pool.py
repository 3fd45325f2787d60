"""The sockets between a front and its tails, on ipc in a folder that only its owner may enter."""

from __future__ import annotations

from pathlib import Path

import zmq

from securesplit.errors import ConfigError
from securesplit.transport.sockets import new_context, pool_socket, tail_socket

_MAX_PATH_BYTES = 100  # sun_path holds 108 on Linux and 104 on macOS


class PoolSocket:
    """The front's end: addresses each tail by its name.

    Args:
        path: of the socket file, in a folder of mode 0700.

    Raises:
        ConfigError: the path is too long for a socket, the disk is full, or this process may open no more files.
    """

    def __init__(self, path: Path) -> None:
        if len(bytes(path)) > _MAX_PATH_BYTES:
            raise ConfigError(
                f"the temporary folder {path.parent} has too long a name", hint="set TMPDIR to a shorter one"
            )
        self._context = new_context()
        self._socket = pool_socket(self._context)
        self.address = f"ipc://{path}"
        try:
            self._socket.bind(self.address)
        except zmq.ZMQError as error:
            self.close()
            hint = "make room there, or set TMPDIR to another folder"
            raise ConfigError(f"no socket can be made in {path.parent} ({error.strerror})", hint=hint) from None

    @property
    def readable(self) -> zmq.Socket[bytes]:
        """What a `Poller` watches."""
        return self._socket

    def send(self, tail: bytes, parts: list[bytes]) -> bool:
        """Hand a message to the named tail; False where it is gone."""
        try:
            self._socket.send_multipart([tail, *parts], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """The next message and the name of its tail, or None where nothing waits."""
        try:
            tail, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return tail, parts

    def close(self) -> None:
        """Close without waiting for anyone."""
        self._socket.close(linger=0)
        self._context.term()


class TailSocket:
    """A tail's end."""

    def __init__(self, address: str, name: bytes) -> None:
        self._context = new_context()
        self._socket = tail_socket(self._context, name)
        self._socket.connect(address)

    def send(self, parts: list[bytes]) -> None:
        """Send to the front."""
        self._socket.send_multipart(parts)

    def receive(self) -> list[bytes]:
        """Wait for the front's next message."""
        return self._socket.recv_multipart()

    def close(self) -> None:
        """Close once the last message has left (or after a second)."""
        self._socket.close()
        self._context.term()
