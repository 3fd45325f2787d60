"""Ours: the tail alone, one tail process, mutual TLS and sealing, and clients that ask it with releases."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers import burst
from benchmarks.peers.peer import LOOPBACK, Inputs
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.transport.async_connection import AsyncConnection
from securesplit.worker import WorkerSettings
from securesplit.worker import serve as serve_worker


def serve(inputs: Inputs, port: int) -> None:
    """Until the process ends."""
    settings = WorkerSettings(f"tcp://{LOOPBACK}:{port}", certs=inputs.folder / "certs", workers=1)
    serve_worker(settings, on_ready=lambda _ready: None)


@dataclass(frozen=True)
class TailClient:
    """One client with a session of its own."""

    connection: AsyncConnection
    inputs: Inputs

    async def ask(self, release: bytes) -> float:
        """Release -> logit."""
        return (await self.connection.request(self.inputs.grid(release))).logit


def ask(inputs: Inputs, port: int) -> None:
    """Ask until standard input ends."""
    identity = Bundle.load().identity
    credentials = keystore.load_client(inputs.folder / "certs", now=datetime.now(UTC))

    async def connect() -> TailClient:
        return TailClient(AsyncConnection([f"tcp://{LOOPBACK}:{port}"], credentials, identity), inputs)

    asyncio.run(burst.run(inputs, connect))


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](Inputs(Path(sys.argv[2])), int(sys.argv[3]))
