"""Clients that ask a served tail, one request after the other each: a program's loop over lines of standard input."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.peers.peer import Inputs

_TOLERANCE = 3e-3  # of a logit: `securesplit.encrypted.tail.ERROR`, the largest that any of ours has
_STARTING_S = 120.0


class Client(Protocol):
    """One client with a connection of its own."""

    async def ask(self, release: bytes) -> float:
        """Release -> logit."""


Connect = Callable[[], Awaitable[Client]]


@dataclass(frozen=True)
class Question:
    """A release, and the right logit."""

    release: bytes
    logit: float


def questions(inputs: Inputs, served: str) -> list[Question]:
    """Releases of the photos, with what the tail answers them."""
    releases = np.load(inputs.folder / f"releases-{served}.npy", allow_pickle=False)
    logits = json.loads((inputs.folder / "answers.json").read_text())[served]
    return [Question(release.tobytes(), logit) for release, logit in zip(releases, logits, strict=True)]


async def run(inputs: Inputs, connect: Connect) -> None:
    """For each line ``{"served", "clients", "seconds"}`` let so many clients ask for so long.

    The answer is one line of JSON: ``ms`` of each request, ``seconds`` that all took, ``wrong`` answers. Connections
    are made before the time begins and stay for the next line.
    """
    clients: list[Client] = []
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wanted = json.loads(line)
        asked = questions(inputs, wanted["served"])
        while len(clients) < wanted["clients"]:
            clients.append(await _connected(connect, asked[0].release))
        found = await _burst(clients[: wanted["clients"]], asked, wanted["seconds"])
        print(json.dumps(found, allow_nan=False), flush=True)


async def _connected(connect: Connect, release: bytes) -> Client:
    """A client that has had its first answer, from a server that may still be starting."""
    end = time.monotonic() + _STARTING_S
    while True:
        try:
            client = await connect()
            await client.ask(release)
            return client
        except Exception:  # every library has exceptions of its own
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


async def _burst(clients: Sequence[Client], asked: Sequence[Question], seconds: float) -> dict[str, object]:
    ms: list[float] = []
    wrong, start = 0, time.perf_counter()

    async def ask(client: Client, number: int) -> None:
        nonlocal wrong
        while time.perf_counter() < start + seconds:
            question, sent = asked[number % len(asked)], time.perf_counter()
            logit = await client.ask(question.release)
            ms.append(1e3 * (time.perf_counter() - sent))
            wrong += not abs(logit - question.logit) <= _TOLERANCE  # NaN is wrong, too
            number += 1

    await asyncio.gather(*(ask(client, number) for number, client in enumerate(clients)))
    return {"ms": ms, "seconds": time.perf_counter() - start, "wrong": wrong}
