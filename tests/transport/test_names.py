"""A worker's name that has no address: told as that, not as a worker that does not answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from securesplit.errors import UnreachableError
from securesplit.pki import keystore
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection, Timeouts
from securesplit_testing.serving import IDENTITY, release

NAMES = ["nowhere.invalid", "a..b", "x" * 64 + ".example"]
TIMEOUTS = Timeouts(total_s=5.0, absent_s=0.2)


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
