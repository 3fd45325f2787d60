"""The client for asyncio: many photos at once over one session.

from securesplit import AsyncClient
async with AsyncClient("tcp://host:5555", certs="certs") as client:
    print(await asyncio.gather(*(client.diagnose(photo) for photo in photos)))
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Literal, Self, overload

from securesplit.device.charging import taken_back_on_error, written_down
from securesplit.device.credentials import ReloadingCredentials
from securesplit.device.options import ClientOptions, takes
from securesplit.device.pipeline import DiagnosisPipeline, EncryptedGroup, PreparedRelease, Trace
from securesplit.device.release_step import Releaser
from securesplit.forking import MadeHere, OfOneProcess
from securesplit.imaging import PhotoSource
from securesplit.results import Diagnosis, Refusal
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.failover import client_closed


class AsyncClient(OfOneProcess):
    """As `Client`, for one event loop: its photos wait for workers side by side, eight at a time over one session.

    Reading photos and the head run in a thread of the client's own, one photo after the other, so that the loop is not
    blocked; the ledger has another. A diagnosis that is cancelled is given up at once and costs the others nothing; the
    ledger counts it if its release was about to leave or had left.

    Its arguments are those of `ClientOptions`, by name; so are the errors that they raise.
    """

    @takes(ClientOptions)
    def __init__(self, options: ClientOptions) -> None:
        self._credentials, self._pipeline = ReloadingCredentials(options), DiagnosisPipeline(options)
        workers = options.endpoints, self._credentials.current, self._pipeline.identity
        self._connection = AsyncConnection(*workers, timeout_s=options.timeout_s)
        self._is_closed = False
        self._made = MadeHere("AsyncClient")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="securesplit-head")

    @property
    def releaser(self) -> Releaser:
        """What turns photos into releases."""
        return self._pipeline.releaser

    @overload
    async def diagnose(self, photo: PhotoSource, *, anyway: Literal[True]) -> Diagnosis: ...

    @overload
    async def diagnose(self, photo: PhotoSource, *, anyway: bool | None = None) -> Diagnosis | Refusal: ...

    async def diagnose(self, photo: PhotoSource, *, anyway: bool | None = None) -> Diagnosis | Refusal:
        """As `Client.diagnose`, without blocking the event loop.

        Args:
            photo: as `Client.diagnose` takes it.
            anyway: as `Client.diagnose`.

        Raises:
            UnreachableError: no worker answered in time, or the client was closed.
            ConfigError: `anyway` is neither True nor False nor None, this process is a fork of the one that made the
                client, or it was used in another event loop.
            PhotoError, BudgetError, TrustError, WorkerError: as `Client.diagnose`.
        """
        return (await self.trace(photo, anyway=anyway))[0]

    async def trace(
        self, photo: PhotoSource, *, anyway: bool | None = None
    ) -> tuple[Diagnosis, Trace] | tuple[Refusal, None]:
        """`diagnose`, with what the photo became on its way; raises the same errors."""
        self._check_open()
        preparing = self._thread.submit(self._prepare, photo, anyway)
        try:
            prepared, group = await asyncio.wrap_future(preparing)
        except asyncio.CancelledError:
            preparing.add_done_callback(_take_back)
            raise
        if isinstance(prepared, Refusal):
            return prepared, None
        with taken_back_on_error(prepared.charge), prepared.span.within():
            if renewed := self._credentials.renewed():
                self._connection.renew(renewed)
            if group is None:
                write_down = partial(written_down, prepared.charge)
                answer = await self._connection.request(prepared.ready.release, before_sending=write_down)
            else:
                write_down = partial(written_down, group.charge)
                (answer,) = await self._connection.request_encrypted(group.release, before_sending=write_down)
            return self._pipeline.conclude(prepared, answer, group)

    async def close(self) -> None:
        """End the session; diagnoses that still wait raise UnreachableError. In a fork, the parent's continues."""
        self._is_closed = True
        if self._made.is_inherited:
            return
        await self._connection.close()
        await asyncio.get_running_loop().run_in_executor(None, self._shut)

    def _prepare(
        self,
        photo: PhotoSource,
        anyway: bool | None,  # noqa: FBT001  (an executor's)
    ) -> tuple[PreparedRelease | Refusal, EncryptedGroup | None]:
        """What is to be asked, and for a preset that is encrypted its ciphertext."""
        self._check_open()
        prepared = self._pipeline.prepare(photo, anyway=anyway, early=self._connection.stands)
        if isinstance(prepared, Refusal) or not self._pipeline.is_encrypted:
            return prepared, None
        with taken_back_on_error(prepared.charge), prepared.span.within():
            return prepared, self._pipeline.encrypt([prepared])

    def _check_open(self) -> None:
        self._made.check()
        if self._is_closed:
            raise client_closed()

    def _shut(self) -> None:
        """Wait for the photo that is at the head and for what is being written down, and close the ledger."""
        self._thread.shutdown()
        self._pipeline.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _take_back(prepared: Future[tuple[PreparedRelease | Refusal, EncryptedGroup | None]]) -> None:
    """What became of a photo whose diagnosis was cancelled meanwhile is not asked about."""
    if prepared.cancelled() or prepared.exception() is not None:
        return
    found, _ = prepared.result()
    if isinstance(found, PreparedRelease):
        found.charge.take_back()
