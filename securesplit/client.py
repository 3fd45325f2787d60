"""The whole journey, device side: photo -> release -> sealed request -> diagnosis.

from securesplit import Client
with Client("tcp://host:5555", certs="certs") as client:
    print(client.diagnose("mole.jpg"))
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from securesplit.channel import keystore
from securesplit.channel.credentials import Credentials
from securesplit.model import Bundle
from securesplit.privacy.ledger import Ledger
from securesplit.privacy.noise import load_secret
from securesplit.releaser import Releaser
from securesplit.results import Diagnosis, ModelInfo, Timing
from securesplit.transport.client import Connection

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555"


@dataclass(frozen=True)
class Trace:
    """What one photo became on its way.

    Attributes:
        pixels: as the head saw them, ``(side, side, 3) uint8``.
        release: the integers that left the device.
        wire: the request's frame as the wire carried it.
    """

    pixels: NDArray[np.uint8]
    release: NDArray[Any]
    wire: bytes


class Client:
    """Diagnoses photos through tail workers; many photos share one session.

    Args:
        connect: endpoints ``tcp://host:port`` of workers; the next one is tried where one does not answer.
        certs: the folder that ``securesplit keygen`` wrote.
        name: whose certificate under ``certs/clients`` to use.
        privacy: a preset of the bundle or an ε; None: the bundle's default preset.
        budget: largest ε (at δ = 1e-5) of all that this device ever releases; None: no limit.
        state: folder of the device's noise secret and ledger; None: the user's own.
        bundle: its folder; None: the bundle that comes with the package.
        timeout_s: seconds from a request's start until its answer is given up.
        credentials: already loaded, instead of `certs`.

    Raises:
        BundleError: the bundle cannot be read or has no such preset.
        ConfigError: `privacy` or an endpoint makes no sense.
        CredentialError: keys or certificates are missing or not valid.
    """

    def __init__(
        self,
        connect: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        certs: str | Path = "certs",
        name: str = "device",
        privacy: str | None = None,
        budget: float | None = None,
        state: Path | None = None,
        bundle: str | Path | None = None,
        timeout_s: float = 30.0,
        credentials: Credentials | None = None,
    ) -> None:
        credentials = credentials or keystore.load_client(Path(certs), name, now=datetime.now(UTC))
        opened = Bundle.load(None if bundle is None else Path(bundle))
        self.releaser = Releaser(opened, load_secret(state), privacy=privacy)
        endpoints = [connect] if isinstance(connect, str) else list(connect)
        self._connection = Connection(endpoints, credentials, opened.identity, timeout_s=timeout_s)
        self._ledger, self._budget = Ledger(state), budget
        self._model = ModelInfo(opened.manifest.name, opened.id)

    def diagnose(self, photo: str | Path) -> Diagnosis:
        """Ask about one photo.

        Raises:
            PhotoError: the file is not a photo that can be read safely.
            BudgetError: the release would overspend the budget; nothing was sent.
            UnreachableError: no worker answered in time.
            TrustError: a worker or this client was refused.
            WorkerError: the worker could not compute the answer.
        """
        return self.trace(photo)[0]

    def trace(self, photo: str | Path) -> tuple[Diagnosis, Trace]:
        """`diagnose`, with what the photo became on its way; raises the same errors."""
        started = time.perf_counter()
        ready = self.releaser.release(Path(photo))
        privacy = self.releaser.spend(ready, self._ledger, self._budget)
        spent_ms = 1e3 * (time.perf_counter() - started) - ready.load_ms - ready.head_ms
        answer = self._connection.request(ready.release)
        preset = self.releaser.preset
        diagnosis = Diagnosis(
            photo=str(photo),
            malignant=preset.calibration.probability(answer.logit),
            threshold=preset.threshold,
            model=self._model,
            privacy=privacy,
            payload_bytes=answer.payload_bytes,
            timing_ms=Timing(
                load=ready.load_ms,
                head=ready.head_ms,
                privacy=spent_ms,
                round_trip=answer.round_trip_ms,
                tail=answer.tail_ms,
                total=1e3 * (time.perf_counter() - started),
            ),
        )
        return diagnosis, Trace(ready.pixels, ready.release, answer.frame)

    def close(self) -> None:
        """End the session."""
        self._connection.close()
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
