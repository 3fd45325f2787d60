"""Refusals leave no faster than a client may come back.

A client that ignores BUSY and asks again at once costs the front a request, a refusal and two system calls each time,
as fast as the answers reach it; with 256 sessions that is all the front's time. So of each client `BURST` refusals
leave at once and after them `PER_S`; the others wait, in order. A client that has `WAITING_A_CLIENT` refusals waiting
is ignored until one has left: what it sends meanwhile is dropped unread.

A burst is as large as a client's share of the queue (`PoolSettings.client_limit`), so that a client that stays within
it never waits here, even where all of its requests are refused at once by a worker that drains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from securesplit.channel.limits import TokenBuckets

BURST, PER_S = 256.0, 128.0
WAITING_A_CLIENT = 1_024
_WAITING = 8_192
_CLIENTS = 4_096  # buckets that are remembered
_STEP_S = 0.02

Route: TypeAlias = tuple[bytes, ...]


class Pacer:
    """Refusals that wait, by client.

    Args:
        send: puts a frame on its way along a route.
        clock: seconds, rising.
    """

    def __init__(self, send: Callable[[Route, bytes], None], clock: Callable[[], float]) -> None:
        self._send, self._clock = send, clock
        self._buckets = TokenBuckets(PER_S, BURST, _CLIENTS)
        self._clients: dict[str, deque[tuple[Route, bytes]]] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def ignores(self, client: str) -> bool:
        """Whether what this client sends is dropped unread."""
        waiting = len(self._clients.get(client, ()))
        return waiting >= WAITING_A_CLIENT or (waiting > 0 and self._waiting >= _WAITING)

    def refuse(self, client: str, route: Route, frame: bytes) -> None:
        """Send a refusal now, or when it is its turn; none where the client is ignored."""
        if client not in self._clients and not self._buckets.take(client, self._clock()):
            self._send(route, frame)
        elif not self.ignores(client):
            self._clients.setdefault(client, deque()).append((route, frame))
            self._waiting += 1

    def step(self) -> None:
        """Send those whose turn it is."""
        now_s = self._clock()
        for client in list(self._clients):
            refusals = self._clients[client]
            while refusals and not self._buckets.take(client, now_s):
                self._waiting -= 1
                self._send(*refusals.popleft())
            if not refusals:
                del self._clients[client]

    def pause_s(self, most_s: float) -> float:
        """How long the front may sleep where nothing else comes."""
        return min(most_s, _STEP_S) if self._waiting else most_s
