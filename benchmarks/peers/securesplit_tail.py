"""Ours: the tail alone, one tail process, mutual TLS and sealing, and clients that ask it with releases."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.peers import burst
from benchmarks.peers.peer import FEATURES, LOOPBACK, Inputs
from securesplit.device.encryption_key import EncryptionKey
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.inquiry import EncryptedRelease
from securesplit.worker import WorkerSettings
from securesplit.worker import serve as serve_worker


def serve(inputs: Inputs, port: int) -> None:
    """Until the process ends."""
    certs = inputs.folder / "certs"
    settings = WorkerSettings(f"tcp://{LOOPBACK}:{port}", certs=certs, workers=1, bundle=inputs.bundle)
    serve_worker(settings, on_ready=lambda _ready: None)


@dataclass(frozen=True)
class TailClient:
    """One client with a session of its own; all clients are one device, with one key for the preset ``encrypted``."""

    connection: AsyncConnection
    inputs: Inputs
    key: EncryptionKey

    async def ask(self, release: bytes) -> float:
        """Release -> logit; of numbers to be encrypted, those of one photo or of several, the mean of their logits."""
        if len(release) in self.inputs.presets:
            return (await self.connection.request(self.inputs.grid(release))).logit
        features = np.frombuffer(release, np.float32).reshape(-1, FEATURES)
        ciphertext = await asyncio.to_thread(self.key.encrypt, features)
        answers = await self.connection.request_encrypted(EncryptedRelease(self.key, len(features), ciphertext))
        return sum(answer.logit for answer in answers) / len(answers)


def ask(inputs: Inputs, port: int) -> None:
    """Ask until standard input ends."""
    identity = Bundle.load().identity
    credentials = keystore.load_client(inputs.folder / "certs", now=datetime.now(UTC))
    with tempfile.TemporaryDirectory() as state:
        key = EncryptionKey(Path(state))

        async def connect() -> TailClient:
            return TailClient(AsyncConnection([f"tcp://{LOOPBACK}:{port}"], credentials, identity), inputs, key)

        asyncio.run(burst.run(inputs, connect))


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](Inputs(Path(sys.argv[2])), int(sys.argv[3]))
