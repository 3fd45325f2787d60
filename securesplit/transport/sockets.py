"""Every ZeroMQ socket is made here, with every bound that holds on it.

All are STREAM sockets, whose bytes `zmtp` reads: libzmq's own REQ, DEALER and ROUTER bound each frame and not the
number of frames in a message (ADR 019). Where libzmq can open no file it ends the whole process (``epoll.cpp``,
``signaler.cpp``); hence `require_descriptors`.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import sys
import threading
import warnings
import weakref
from dataclasses import dataclass
from typing import Any, TypeVar

import zmq

from securesplit.channel.frames import HEADER_BYTES, MAX_BODY_BYTES
from securesplit.errors import ConfigError

_SocketT = TypeVar("_SocketT", bound=zmq.Socket[Any])
WORKER = b"worker"
"""The id of a client's only connection."""

_CHUNKS_IN = 8  # of one of many connections, 8 KiB each, before libzmq reads no more of it; fewer cost it more signals
_CHUNKS_OF_WORKER = 64
_CHUNKS_OUT = 256  # beyond twice what a peer may leave unread, so that it can always be disconnected
_SPARE_FILES = 24  # sockets of one connection take up to 12

_END_S = 1.0  # it takes some milliseconds
_ending: weakref.WeakSet[zmq.Context[Any]] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Bounds of a socket that faces the network.

    Attributes:
        max_message_bytes: of all parts of one message together; a peer that announces more is disconnected.
        waiting_messages: whole messages of one peer that may wait; with one more it is disconnected.
        unread_messages: answers that a peer may leave unread; with one more it is disconnected.
        held_bytes_per_peer: what may be held of one peer, whole messages and an unfinished one.
        held_bytes: what may be held of all peers together.
        max_peers: connections, about 50 kB each; over it some are disconnected.
        greeting_s: a peer that has not finished ZeroMQ's own handshake by then is disconnected.
        message_s: so long may a message take to arrive; longer than any client waits for an answer.
        heartbeat_s: how often a silent peer is pinged; after three times this it is disconnected.
        chunks_a_turn: pieces of at most 8 KiB that are received in one turn of the front's loop.
        frames_a_turn: frames of these that are read in one turn, before the next chunk waits for the next turn.
        messages_a_turn: messages that are handled in one turn.
        backlog: connections that the system may hold before they are accepted.
    """

    max_message_bytes: int = HEADER_BYTES + MAX_BODY_BYTES + 512
    waiting_messages: int = 64
    unread_messages: int = 64
    held_bytes_per_peer: int = 4 << 20
    held_bytes: int = 16 << 20
    max_peers: int = 2_048
    greeting_s: float = 5.0
    message_s: float = 30.0
    heartbeat_s: float = 20.0
    chunks_a_turn: int = 128
    frames_a_turn: int = 512
    messages_a_turn: int = 32
    backlog: int = 1_024


class NeverWaiting:
    """Part of a context that may be collected as garbage without being closed: whoever collects it does not wait.

    pyzmq's own `__del__` waits until all sockets are closed. Where they are collected with their context it no longer
    knows of them, they are closed only after it, and it waits for ever: the program stops within any allocation.
    """

    closed: bool

    def term(self) -> None:
        """pyzmq's: end the context's threads once its sockets are closed."""
        super().term()  # type: ignore[misc]  # of the context

    def __del__(self) -> None:
        if self.closed or sys.is_finalizing():
            return
        warnings.warn("a client or worker was not closed; use it in a with block", ResourceWarning, 2, self)
        with contextlib.suppress(RuntimeError):  # since Python 3.12 a program that is ending starts no threads
            _thread.start_new_thread(self.term, ())  # `threading` takes locks, which the interrupted code may hold


class _Context(NeverWaiting, zmq.Context[zmq.Socket[bytes]]):
    """A context of blocking sockets."""


def require_descriptors() -> None:
    """Make sure that this process may open `_SPARE_FILES` more files.

    Raises:
        ConfigError: it may not, or the null device is broken.
    """
    with contextlib.ExitStack() as spare:
        try:
            for _ in range(_SPARE_FILES):
                spare.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                hint = "make it a device again that everybody may read and write"
                raise ConfigError(f"{os.devnull} cannot be opened ({error.strerror})", hint=hint) from None
            limit = f"this process has too many files open for a connection ({error.strerror})"
            raise ConfigError(limit, hint="ulimit -n 1024, or close some") from None


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """A context of its own, so that closing it ends its threads.

    Raises:
        ConfigError: this process may open no more files.
    """
    require_descriptors()
    return _Context()


def end_context(context: zmq.Context[Any]) -> None:
    """Close the sockets of a client's `context` at once and end its threads.

    A signal's handler that raises while pyzmq makes or closes a socket leaves one that the context no longer knows of
    and that lives as long as the exception's traceback; libzmq would wait for it, and the handler's program with it. So
    a thread of its own waits on, where that takes longer than `_END_S`.
    """
    if context in _ending:
        return
    _ending.add(context)
    for made in _sockets_of(context):  # `Context.destroy` closes these, and then waits without end
        made.close(linger=0)
    ending = threading.Thread(target=context.term, name="securesplit-end-context", daemon=True)
    try:
        ending.start()
    except RuntimeError:  # since Python 3.12 a program that is ending starts no threads
        context.term()
    else:
        ending.join(_END_S)


def _sockets_of(context: zmq.Context[Any]) -> tuple[zmq.Socket[Any], ...]:
    """All that are open, also where another thread opens one meanwhile, upon which reading pyzmq's weak set fails."""
    while True:
        try:
            return tuple(context._sockets)  # noqa: SLF001  (there is no public name)
        except RuntimeError:
            continue


_NEVER_MS = 500_000_000
"""Six days. Told never to reconnect, libzmq drops what had come before a connection ended and was not read yet."""


def client_socket(context: zmq.Context[_SocketT], *, ipv6: bool) -> _SocketT:
    """A client's STREAM: one TCP connection, never repaired behind our back (`ReqConnection` opens a new one)."""
    made = context.socket(zmq.STREAM)
    _bound(made, ipv6=ipv6)
    made.setsockopt(zmq.RCVHWM, _CHUNKS_OF_WORKER)
    made.setsockopt(zmq.RECONNECT_IVL, _NEVER_MS)
    made.setsockopt(zmq.CONNECT_ROUTING_ID, WORKER)
    return made


def front_socket(context: zmq.Context[zmq.Socket[bytes]], limits: SocketLimits, *, ipv6: bool) -> zmq.Socket[bytes]:
    """The worker's STREAM, which faces all clients."""
    made = context.socket(zmq.STREAM)
    _bound(made, ipv6=ipv6)
    made.setsockopt(zmq.RCVHWM, _CHUNKS_IN)
    made.setsockopt(zmq.BACKLOG, limits.backlog)
    return made


def _bound(made: zmq.Socket[Any], *, ipv6: bool) -> None:
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.SNDHWM, _CHUNKS_OUT)
    made.setsockopt(zmq.IPV6, int(ipv6))
