"""A line of little bandwidth or much delay between a client and a server on this machine."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

_SEGMENT = 4_096


class SlowLine:
    """Passes connections on, both ways, at a pace.

    Args:
        target: port where they go.
        delay_s: from one end to the other.
        bits_per_s: in each direction.

    Attributes:
        endpoint: where it listens, for ZeroMQ.
    """

    def __init__(self, target: int, *, delay_s: float = 0.0, bits_per_s: float = 1e9) -> None:
        self._target, self._delay_s, self._bits_per_s = target, delay_s, bits_per_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._target))
                for source, sink in ((near, far), (far, near)):
                    # little is taken before its time, so that the sender feels the line
                    source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
                    self._join(source, sink)

    def _join(self, source: socket.socket, sink: socket.socket) -> None:
        held = int(self._bits_per_s / 8 * self._delay_s / _SEGMENT) + 4
        on_the_way: queue.Queue[tuple[float, bytes]] = queue.Queue(held)

        def take() -> None:
            free_at, data = 0.0, b"-"
            while data:
                with contextlib.suppress(OSError):
                    data = source.recv(_SEGMENT)
                free_at = max(free_at, time.monotonic()) + len(data) * 8 / self._bits_per_s
                time.sleep(max(0.0, free_at - time.monotonic()))
                on_the_way.put((time.monotonic() + self._delay_s, data))

        def give() -> None:
            while True:
                due, data = on_the_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                with contextlib.suppress(OSError):
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                    sink.sendall(data)
                if not data:
                    return

        for action in (take, give):
            threading.Thread(target=action, daemon=True).start()


@contextlib.contextmanager
def slow_line(endpoint: str, *, delay_s: float = 0.0, bits_per_s: float = 1e9) -> Iterator[str]:
    """The endpoint of a line that leads to `endpoint`."""
    line = SlowLine(int(endpoint.rpartition(":")[2]), delay_s=delay_s, bits_per_s=bits_per_s)
    try:
        yield line.endpoint
    finally:
        line.close()
