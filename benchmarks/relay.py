"""Counts what TCP carries between a client and a server, both ways."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Passes one connection on and counts its bytes.

    Args:
        target: port where they go.

    Attributes:
        port: where it listens.
        endpoint: the same for ZeroMQ.
        there: bytes towards `target` so far.
        back: bytes from there.
    """

    def __init__(self, target: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        self.there = self.back = 0
        threading.Thread(target=self._run, args=[target], daemon=True).start()

    def _run(self, target: int) -> None:
        with self._listener:
            ours, _ = self._listener.accept()
        with ours, socket.create_connection(("127.0.0.1", target)) as theirs:
            back = threading.Thread(target=self._pump, args=[theirs, ours, "back"], daemon=True)
            back.start()
            self._pump(ours, theirs, "there")
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket, count: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                setattr(self, count, getattr(self, count) + len(data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
