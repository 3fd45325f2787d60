"""The client for asyncio: many photos at once over one session.

from securesplit import AsyncClient
async with AsyncClient("tcp://host:5555", certs="certs") as client:
    print(await asyncio.gather(*(client.diagnose(photo) for photo in photos)))
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from securesplit.config import check_path, check_timeout_s, renamed
from securesplit.device.client import DEFAULT_ENDPOINT
from securesplit.device.pipeline import DiagnosisPipeline, PreparedRelease, ReloadingCredentials, Trace
from securesplit.device.release_step import Releaser
from securesplit.errors import UnreachableError
from securesplit.forking import MadeHere
from securesplit.imaging import PhotoSource
from securesplit.pki.credentials import Credentials
from securesplit.results import Diagnosis, Refusal
from securesplit.transport.async_connection import AsyncConnection


class AsyncClient:
    """As `Client`, for one event loop: its photos wait for workers side by side, eight at a time over one session.

    Reading photos and the head run in a thread of the client's own, one photo after the other, so that the loop is not
    blocked; the ledger has another. A diagnosis that is cancelled is given up at once and costs the others nothing;
    the ledger counts it if its release was about to leave or had left.

    Args:
        connect: endpoints ``tcp://host:port`` of workers; the next one is tried where one does not answer.
        certs: the folder that ``securesplit keygen`` wrote.
        client: whose certificate under ``certs/clients`` to use.
        privacy: a preset of the bundle or an ε; None: the bundle's default preset. One that does not protect the photo
            is warned of, once, on the logger ``securesplit.privacy``, and has the claim "none" in every result.
        budget: largest ε (at δ = 1e-5) of all that this device ever releases; None: no limit.
        state: folder of the device's noise secret and ledger; None: the user's own.
        model: folder of the bundle; None: the one that comes with the package.
        timeout_s: seconds from a request's start until its answer is given up, 0.1 to 86,400.
        credentials: already loaded, instead of `certs`.
        local: the worker is a part of this very program (`securesplit.worker.EmbeddedWorker`): nothing leaves the
            device, so the ledger is left alone and no budget is spent.
        anyway: ask about photos that would be refused, too; the diagnosis says why in `Diagnosis.overridden`.
        bundle: earlier name of `model`.
        name: earlier name of `client`.

    Raises:
        BundleError: the bundle cannot be read or has no such preset.
        ConfigError: an argument makes no sense.
        CredentialError: keys or certificates are missing or not valid.
    """

    def __init__(
        self,
        connect: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        certs: str | Path = "certs",
        client: str = "device",
        privacy: str | float | None = None,
        budget: float | None = None,
        state: str | Path | None = None,
        model: str | Path | None = None,
        timeout_s: float = 30.0,
        credentials: Credentials | None = None,
        local: bool = False,
        anyway: bool = False,
        bundle: str | Path | None = None,
        name: str | None = None,
    ) -> None:
        timeout_s = check_timeout_s(timeout_s)
        model = renamed(model, "model", bundle, "bundle")
        self._credentials = ReloadingCredentials(
            check_path(certs, "certs"), renamed(client, "client", name, "name"), credentials
        )
        self._pipeline = DiagnosisPipeline(
            privacy=privacy, budget=budget, state=state, model=model, local=local, anyway=anyway
        )
        endpoints = [connect] if isinstance(connect, str) else list(connect)
        self._connection = AsyncConnection(
            endpoints, self._credentials.current, self._pipeline.identity, timeout_s=timeout_s
        )
        self._is_closed = False
        self._made = MadeHere("AsyncClient")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="securesplit-head")
        self._ledger_thread = ThreadPoolExecutor(1, thread_name_prefix="securesplit-ledger")

    @property
    def releaser(self) -> Releaser:
        """What turns photos into releases."""
        return self._pipeline.releaser

    async def diagnose(self, photo: PhotoSource, *, anyway: bool | None = None) -> Diagnosis | Refusal:
        """Ask about one photo; one of which no answer would mean anything is refused, and nothing is sent.

        Args:
            photo: a path (str or Path), a binary file object, a PIL image, or an array ``(h, w, 3) uint8`` of upright
                sRGB pixels.
            anyway: of this photo; None: as the client was made.

        Raises:
            PhotoError: this is not a photo that can be read safely.
            BudgetError: the release would overspend the budget; nothing was sent.
            UnreachableError: no worker answered in time, or the client was closed.
            TrustError: a worker or this client was refused.
            WorkerError: the worker could not compute the answer.
            ConfigError: this process is a fork of the one that made the client.
        """
        return (await self.trace(photo, anyway=anyway))[0]

    async def trace(
        self, photo: PhotoSource, *, anyway: bool | None = None
    ) -> tuple[Diagnosis, Trace] | tuple[Refusal, None]:
        """`diagnose`, with what the photo became on its way; raises the same errors."""
        self._check_open()
        prepared = await asyncio.get_running_loop().run_in_executor(self._thread, self._prepare, photo, anyway)
        if isinstance(prepared, Refusal):
            return prepared, None
        if renewed := self._credentials.renewed():
            self._connection.renew(renewed)

        async def charge() -> None:
            await asyncio.get_running_loop().run_in_executor(self._ledger_thread, prepared.charge)

        with prepared.span.within():
            answer = await self._connection.request(prepared.ready.release, before_sending=charge)
            return self._pipeline.conclude(prepared, answer)

    async def close(self) -> None:
        """End the session; diagnoses that still wait raise UnreachableError. In a fork, the parent's continues."""
        self._is_closed = True
        if self._made.is_inherited:
            return
        await self._connection.close()
        await asyncio.get_running_loop().run_in_executor(None, self._shut)

    def _prepare(self, photo: PhotoSource, anyway: bool | None) -> PreparedRelease | Refusal:  # noqa: FBT001  (an executor's)
        self._check_open()
        return self._pipeline.prepare(photo, anyway=anyway)

    def _check_open(self) -> None:
        self._made.check()
        if self._is_closed:
            raise UnreachableError("the client was closed", hint="keep it open until the last answer")

    def _shut(self) -> None:
        """Wait for the photo that is at the head and for what is being written down, and close the ledger."""
        self._thread.shutdown()
        self._ledger_thread.shutdown()
        self._pipeline.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
