"""A connection whose other end is gone without a word, as after a laptop's sleep behind a NAT: it is not used again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from securesplit.transport import wire
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection
from securesplit.transport.wire import elapsed_s
from securesplit_testing.serving import IDENTITY, release, running
from securesplit_testing.timing import took_less_than
from tests.transport.clients import CLIENT, KEYS
from tests.transport.nat import Nat

Ask = Callable[[str, Callable[[], None]], list[float]]


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
