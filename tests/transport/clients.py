"""Both connections of a device with known keys, as functions that ask for numbers and return the answers."""

from __future__ import annotations

import asyncio

from securesplit.pki import keystore
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection, Timeouts
from securesplit_testing.serving import IDENTITY, now, release

KEYS = keystore.ephemeral(now())
"""Credentials of a worker and of a device that it lets in."""
CLIENT = KEYS[1]
TIMEOUTS = Timeouts(total_s=15.0, try_s=0.4, absent_s=0.5)


def ask_blocking(endpoints: list[str], timeouts: Timeouts, numbers: list[int]) -> list[float]:
    with Connection(endpoints, CLIENT, IDENTITY, timeouts=timeouts) as connection:
        return [connection.request(release(n)).logit for n in numbers]


def ask_asyncio(endpoints: list[str], timeouts: Timeouts, numbers: list[int]) -> list[float]:
    async def scenario() -> list[float]:
        async with AsyncConnection(endpoints, CLIENT, IDENTITY, timeouts=timeouts) as connection:
            return [(await connection.request(release(n))).logit for n in numbers]

    return asyncio.run(scenario())


CLIENTS = [ask_blocking, ask_asyncio]
"""Each: endpoints, timeouts and numbers -> their logits, over one connection."""
