"""Every ZeroMQ socket is made here, with every bound that holds on it.

libzmq bounds each frame, not the number of frames in one message; what that leaves open the front closes (ADR 022).
Where it can open no file it ends the whole process (``epoll.cpp``, ``signaler.cpp``); hence `require_descriptors`.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zmq

from securesplit.channel.frames import HEADER_BYTES, MAX_BODY_BYTES
from securesplit.errors import ConfigError

if TYPE_CHECKING:
    from zmq.asyncio import Context as AsyncContext  # the blocking client needs no asyncio
    from zmq.asyncio import Socket as AsyncSocket


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a socket that faces the network.

    Attributes:
        max_message_bytes: a peer that sends a longer frame is disconnected.
        messages_per_peer: how many wait in each direction before a peer is held back (in) or its replies dropped (out).
        greeting_ms: a peer that has not finished ZeroMQ's own greeting by then is disconnected.
        heartbeat_ms: how often a silent peer is pinged; after three times this it is disconnected.
        backlog: connections that the system may hold before they are accepted.
    """

    max_message_bytes: int = HEADER_BYTES + MAX_BODY_BYTES
    messages_per_peer: int = 64
    greeting_ms: int = 5_000
    heartbeat_ms: int = 20_000
    backlog: int = 1_024


def require_descriptors(many: int = 24) -> None:
    """Make sure that this process may open so many more files; sockets of one connection take up to 12.

    Raises:
        ConfigError: it may not.
    """
    with contextlib.ExitStack() as spare:
        try:
            for _ in range(many):
                spare.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            limit = f"this process has too many files open for a connection ({error.strerror})"
            raise ConfigError(limit, hint="ulimit -n 1024, or close some") from None


def new_context(io_threads: int = 1) -> zmq.Context[zmq.Socket[bytes]]:
    """A context of its own, so that closing it ends its threads.

    Raises:
        ConfigError: this process may open no more files.
    """
    require_descriptors()
    return zmq.Context(io_threads)


def request_socket(context: zmq.Context[zmq.Socket[bytes]], limits: Limits, *, ipv6: bool) -> zmq.Socket[bytes]:
    """The client's REQ: one TCP connection, which is never repaired behind our back (`Link` opens a new one)."""
    made = context.socket(zmq.REQ)
    _harden(made, limits)
    made.setsockopt(zmq.IPV6, int(ipv6))
    made.setsockopt(zmq.RECONNECT_IVL, -1)
    return made


def line_socket(context: AsyncContext, limits: Limits, *, ipv6: bool) -> AsyncSocket:
    """The asyncio client's DEALER, which speaks as a REQ does, but need not take turns; not repaired either."""
    made = context.socket(zmq.DEALER)
    _harden(made, limits)
    made.setsockopt(zmq.IPV6, int(ipv6))
    made.setsockopt(zmq.RECONNECT_IVL, -1)
    return made


def front_socket(context: zmq.Context[zmq.Socket[bytes]], limits: Limits, *, ipv6: bool) -> zmq.Socket[bytes]:
    """The worker's ROUTER, which faces all clients."""
    made = context.socket(zmq.ROUTER)
    _harden(made, limits)
    made.setsockopt(zmq.IPV6, int(ipv6))
    made.setsockopt(zmq.BACKLOG, limits.backlog)
    made.setsockopt(zmq.ROUTER_HANDOVER, 0)
    made.setsockopt(zmq.ZAP_DOMAIN, b"securesplit")  # libzmq then refuses ZMTP 1 and 2, which leak 10 kB a peer
    return made


def _harden(made: zmq.Socket[Any], limits: Limits) -> None:
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.MAXMSGSIZE, limits.max_message_bytes)
    made.setsockopt(zmq.RCVHWM, limits.messages_per_peer)
    made.setsockopt(zmq.SNDHWM, limits.messages_per_peer)
    made.setsockopt(zmq.HANDSHAKE_IVL, limits.greeting_ms)
    made.setsockopt(zmq.HEARTBEAT_IVL, limits.heartbeat_ms)
    made.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * limits.heartbeat_ms)
