"""A worker's name: one that has no address is told as that, and one that gets another address is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from securesplit.errors import UnreachableError
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials
from securesplit.transport.addresses import Addresses
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection, Timeouts
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.wire import Fault
from securesplit_testing.serving import IDENTITY, release, running

Ask = Callable[[Credentials, Callable[[int], None]], list[float]]
NAMES = ["nowhere.invalid", "a..b", "x" * 64 + ".example"]
TIMEOUTS = Timeouts(total_s=5.0, absent_s=0.2)


def blocking(keys: Credentials, before: Callable[[int], None]) -> list[float]:
    """Answers to three requests of one connection to a name; `before` is told of each."""
    found = []
    with Connection(["tcp://127.0.0.1:5555"], keys, IDENTITY) as connection:
        for asked in range(3):
            before(asked)
            found.append(connection.request(release(asked)).logit)
    return found


def in_a_loop(keys: Credentials, before: Callable[[int], None]) -> list[float]:
    """The same by the asyncio client."""

    async def ask() -> list[float]:
        found = []
        async with AsyncConnection(["tcp://127.0.0.1:5555"], keys, IDENTITY) as connection:
            for asked in range(3):
                await asyncio.to_thread(before, asked)
                found.append((await connection.request(release(asked))).logit)
        return found

    return asyncio.run(ask())


def check(error: UnreachableError, *names: str) -> None:
    assert all(f"the name '{name}' has no address" in error.message for name in names)
    assert "no worker answered" not in error.message
    assert "DNS" in error.hint
    assert "tail-worker" not in error.hint


@pytest.mark.parametrize("name", NAMES)
def test_a_name_without_an_address_is_told_as_such(name: str) -> None:
    _, keys = keystore.ephemeral(datetime.now(UTC))
    with Connection([f"tcp://{name}:5555"], keys, IDENTITY, timeouts=TIMEOUTS) as connection:
        with pytest.raises(UnreachableError) as caught:
            connection.request(release(1))
    check(caught.value, name)


@pytest.mark.parametrize("name", NAMES)
def test_by_the_asyncio_client_too(name: str) -> None:
    _, keys = keystore.ephemeral(datetime.now(UTC))

    async def ask() -> None:
        connection = AsyncConnection([f"tcp://{name}:5555"], keys, IDENTITY, timeouts=TIMEOUTS)
        try:
            await connection.request(release(1))
        finally:
            await connection.close()

    with pytest.raises(UnreachableError) as caught:
        asyncio.run(ask())
    check(caught.value, name)


def test_where_one_endpoint_has_an_address_both_causes_are_told() -> None:
    _, keys = keystore.ephemeral(datetime.now(UTC))
    endpoints = ["tcp://nowhere.invalid:5555", "tcp://127.0.0.1:1"]
    with Connection(endpoints, keys, IDENTITY, timeouts=TIMEOUTS) as connection:
        with pytest.raises(UnreachableError, match="no worker answered") as caught:
            connection.request(release(1))
    assert "the name 'nowhere.invalid' has no address" in caught.value.message


@pytest.mark.parametrize("ask", [blocking, in_a_loop])
def test_a_worker_that_moves_is_followed(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = keystore.ephemeral(datetime.now(UTC))
    with running(keys=keys) as first, running(keys=keys) as second:
        where = [Endpoint.parse(first.front.endpoint)]
        monkeypatch.setattr(Endpoint, "resolve", lambda _: list(where))

        def move(asked: int) -> None:
            if asked == 1:
                first.stop()
                where[:] = [Endpoint.parse(second.front.endpoint)]

        assert ask(keys[1], move) == [0, 1, 2]


def test_a_resolver_that_is_out_takes_no_address_away(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Endpoint("192.0.2.1", 1), Endpoint("192.0.2.2", 1)
    answers: list[list[Endpoint] | UnreachableError] = [[first, second], UnreachableError("out"), [first], [second]]

    def resolve(_: Endpoint) -> list[Endpoint]:
        answer = answers.pop(0)
        if isinstance(answer, UnreachableError):
            raise answer
        return answer

    monkeypatch.setattr(Endpoint, "resolve", resolve)
    addresses, tried = Addresses(Endpoint("worker.example", 1)), []
    for _ in range(6):
        addresses.resolve()
        tried.append(addresses.current)
        addresses.failed(Fault.REFUSED, was_up=False)
    assert tried == [first, second, first, second, first, second]
    assert not answers
