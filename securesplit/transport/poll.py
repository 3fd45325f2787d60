"""Wait for sockets, processes and signals in one place."""

from __future__ import annotations

import socket
import weakref
from typing import Protocol

import zmq


class Source(Protocol):
    """Something that becomes readable."""

    @property
    def readable(self) -> zmq.Socket[bytes] | int:
        """The ZeroMQ socket or the file descriptor to watch."""


class Poller:
    """A set of sources and one wait for all of them."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._sources: dict[zmq.Socket[bytes] | int, Source] = {}

    def add(self, source: Source) -> None:
        """Watch `source` from now on."""
        self._sources[source.readable] = source
        self._poller.register(source.readable, zmq.POLLIN)

    def watch(self, source: Source, *, writes: bool) -> None:
        """Tell also when a source that was added takes writes again, or no longer."""
        self._poller.modify(source.readable, zmq.POLLIN | zmq.POLLOUT if writes else zmq.POLLIN)

    def remove(self, source: Source) -> None:
        """Watch `source` no longer; it must still be open."""
        if self._sources.pop(source.readable, None) is not None:
            self._poller.unregister(source.readable)

    def wait(self, timeout_s: float) -> list[Source]:
        """The sources that are ready now, or after at most `timeout_s` seconds (possibly none)."""
        ready = self._poller.poll(max(0, round(timeout_s * 1_000 + 0.5)))
        return [self._sources[key] for key, _ in ready]


class Wakeup:
    """Ends a wait from another thread or from a signal handler.

    It stays open as long as anything refers to it: threads and signals may come when nobody waits any more.
    """

    def __init__(self) -> None:
        self._out, self._in = ends = socket.socketpair()
        weakref.finalize(self, _close, *ends)
        self._out.setblocking(False)  # noqa: FBT003  (the standard library's signature)
        self._in.setblocking(False)  # noqa: FBT003

    @property
    def readable(self) -> int:
        """The descriptor that a `Poller` watches."""
        return self._in.fileno()

    @property
    def signal_fd(self) -> int:
        """The descriptor for ``signal.set_wakeup_fd``."""
        return self._out.fileno()

    def wake(self) -> None:
        """End the wait; any number of calls before the next `clear` count as one."""
        try:
            self._out.send(b"\0")
        except BlockingIOError:
            return

    def clear(self) -> None:
        """Forget the calls so far."""
        try:
            while self._in.recv(4_096):
                pass
        except BlockingIOError:
            return


def _close(*sockets: socket.socket) -> None:
    for end in sockets:
        end.close()
