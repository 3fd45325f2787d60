"""A connection whose other end is gone without a word, as after a laptop's sleep behind a NAT: it is not used again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from securesplit.transport import wire
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.wire import elapsed_s
from securesplit_testing.serving import IDENTITY, release, running
from securesplit_testing.timing import took_less_than
from tests.transport.clients import CLIENT, KEYS

Ask = Callable[[str, Callable[[], None]], list[float]]


class Nat:
    """Passes bytes on; what it has forgotten it drops, and tells nobody.

    Attributes:
        endpoint: where it listens.
        accepted: connections so far.
    """

    def __init__(self, behind: str) -> None:
        self._behind = Endpoint.parse(behind)
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
                if number > self._forgotten:
                    to.sendall(data)


@pytest.fixture
def nat() -> Iterator[Nat]:
    with running(keys=KEYS) as worker:
        made = Nat(worker.front.endpoint)
        yield made
        made.close()


def blocking(endpoint: str, between: Callable[[], None]) -> list[float]:
    with Connection([endpoint], CLIENT, IDENTITY) as connection:
        first = connection.request(release(1)).logit
        between()
        return [first, connection.request(release(2)).logit]


def in_a_loop(endpoint: str, between: Callable[[], None]) -> list[float]:
    async def scenario() -> list[float]:
        async with AsyncConnection([endpoint], CLIENT, IDENTITY) as connection:
            first = (await connection.request(release(1))).logit
            between()
            return [first, (await connection.request(release(2))).logit]

    return asyncio.run(scenario())


@pytest.mark.parametrize("ask", [blocking, in_a_loop])
def test_after_a_sleep_the_worker_is_asked_over_a_new_connection(
    nat: Nat, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep() -> None:
        nat.forget()
        monkeypatch.setattr(wire, "elapsed_s", lambda: elapsed_s() + 61.0)
        began.append(time.monotonic())

    began: list[float] = []
    assert ask(nat.endpoint, sleep) == [1, 2]
    took_less_than(4.0, began[0], "half of the time of a try")
    assert nat.accepted == 2


@pytest.mark.parametrize("ask", [blocking, in_a_loop])
def test_a_shorter_one_costs_no_connection(nat: Nat, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(nat.endpoint, lambda: monkeypatch.setattr(wire, "elapsed_s", lambda: elapsed_s() + 59.0)) == [1, 2]
    assert nat.accepted == 1
