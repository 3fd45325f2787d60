"""Something on the way between a device and a worker that passes bytes on, late, or no more."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from securesplit.transport.endpoint import Endpoint


class Nat:
    """Passes bytes on; what it has forgotten it drops, and tells nobody.

    Args:
        behind: the worker's endpoint.
        delay_s: how long each chunk takes, either way.

    Attributes:
        endpoint: where it listens.
        accepted: connections so far.
    """

    def __init__(self, behind: str, delay_s: float = 0.0) -> None:
        self._behind, self._delay_s = Endpoint.parse(behind), delay_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = str(Endpoint(*self._listener.getsockname()))
        self.accepted, self._forgotten = 0, 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        """Pass nothing more on over the connections that there are."""
        self._forgotten = self.accepted

    def close(self) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                device = self._listener.accept()[0]
                worker = socket.create_connection((self._behind.host, self._behind.port))
                self._open += [device, worker]
                self.accepted += 1
                for pair in ((device, worker), (worker, device)):
                    threading.Thread(target=self._pass_on, args=(self.accepted, *pair), daemon=True).start()

    def _pass_on(self, number: int, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(self._delay_s)
                if number > self._forgotten:
                    to.sendall(data)
