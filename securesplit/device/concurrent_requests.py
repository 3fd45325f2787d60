"""Requests of one program under way at once, at all workers that it knows, for a program that is not asyncio's own.

An event loop in a thread of its own has one connection for each worker, which begins with that worker and goes to the
next one where it fails. A request goes to a worker that was not asked yet, else to the one that has most room, of
several such to the one that was asked least. How many may be under way at a worker follows how long it takes, so that
none runs out of time because it waits for others of this program: one until the first answer, then as many as would be
answered within `PART_OF_TIME`; one again where an answer does not come.

Releases are written down in the order in which they were asked about, when they are about to leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Self, TypeVar

from securesplit.channel.limits import REQUESTS_IN_FLIGHT
from securesplit.device.charging import written_down
from securesplit.device.options import ClientOptions
from securesplit.device.pipeline import EncryptedGroup, PreparedRelease
from securesplit.errors import UnreachableError
from securesplit.forking import MadeHere
from securesplit.pki.credentials import Credentials
from securesplit.transport.answer import Answer
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.failover import client_closed
from securesplit.transport.sockets import require_descriptors

_T = TypeVar("_T")
AT_A_WORKER = REQUESTS_IN_FLIGHT
"""Requests under way for each worker at most, so that the next ones are there when its tails have answered some."""
PART_OF_TIME = 0.5
"""Of the time that a request has, so much may pass until all that are under way at a worker are answered."""


@dataclass
class _Worker:
    """One worker, and what is under way there.

    Attributes:
        connection: that begins with it.
        under_way: requests.
        asked: requests so far.
        window: how many may be under way.
    """

    connection: AsyncConnection
    under_way: int = 0
    asked: int = 0
    window: int = 1

    def preference(self) -> tuple[bool, int, int]:
        """The largest is asked next: a worker whose time is not known yet, else the one with most room."""
        room = self.window - self.under_way
        return room > 0 and not self.asked, room, -self.asked

    def begin(self) -> int:
        """Another request; how many are under way with it."""
        self.under_way += 1
        self.asked += 1
        return self.under_way

    def answered(self, took_s: float, among: int, timeout_s: float) -> None:
        """The answer to a request, which was one of so many under way, and how long it took."""
        self.window = min(AT_A_WORKER, max(1, int(PART_OF_TIME * timeout_s * among / max(took_s, 1e-3))))


@dataclass(frozen=True)
class Asked:
    """A request that is under way.

    Attributes:
        photos: that it is about.
        group: in which they share a ciphertext; None: there is one, and nothing is encrypted.
        future: of an answer for each.
    """

    photos: Sequence[PreparedRelease]
    group: EncryptedGroup | None
    future: Future[list[Answer]]

    @property
    def is_done(self) -> bool:
        """Whether there are answers, or an error."""
        return self.future.done()

    def answers(self) -> list[Answer]:
        """Wait for them; raises as `Connection.request`."""
        try:
            return self.future.result()
        except CancelledError:
            raise client_closed() from None


class ConcurrentRequests:
    """Connections to all workers that `options` name; close it.

    Args:
        options: of the client.
        credentials: its present ones.
        identity: of the bundle, 32 bytes.

    Raises:
        ConfigError: an endpoint has another form, or this process may open no more files.
    """

    def __init__(self, options: ClientOptions, credentials: Credentials, identity: bytes) -> None:
        self._made, self._closing, self._is_closed = MadeHere("batch"), threading.RLock(), False
        require_descriptors()  # of which the loop takes three
        self._loop = asyncio.SelectorEventLoop()  # Windows has another by default, which ZeroMQ cannot use
        self._thread = threading.Thread(target=self._loop.run_forever, name="securesplit-requests", daemon=True)
        self._thread.start()
        self._credentials, self._timeout_s, self._workers = credentials, options.timeout_s, list[_Worker]()
        try:
            self._run(self._connect(options.endpoints, identity))
        except BaseException:
            self.close()
            raise

    @property
    def most(self) -> int:
        """Requests that may be under way at once, as it is now."""
        return sum(worker.window for worker in self._workers)

    def ask(self, photos: Sequence[PreparedRelease], group: EncryptedGroup | None) -> Asked:
        """Begin to ask about one photo, or about a group that shares a ciphertext.

        Raises:
            ConfigError: this process is a fork of the one that made this.
            UnreachableError: it was closed.
        """
        self._made.check()
        with self._closing:
            if self._is_closed:
                raise client_closed()
            return Asked(photos, group, asyncio.run_coroutine_threadsafe(self._ask(photos, group), self._loop))

    def use(self, credentials: Credentials) -> None:
        """Use these credentials from the next request on."""
        with self._closing:
            if credentials is self._credentials or self._is_closed:
                return
            self._credentials = credentials
            for worker in self._workers:
                self._loop.call_soon_threadsafe(worker.connection.renew, credentials)

    def close(self) -> None:
        """Give up what is under way."""
        if self._made.is_inherited:
            return
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Coroutine[None, None, _T]) -> _T:
        """Have the loop's thread do something, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _connect(self, known: Sequence[str], identity: bytes) -> None:
        for first in range(len(known)):
            order = [*known[first:], *known[:first]]
            connection = AsyncConnection(order, self._credentials, identity, timeout_s=self._timeout_s)
            self._workers.append(_Worker(connection))

    async def _ask(self, photos: Sequence[PreparedRelease], group: EncryptedGroup | None) -> list[Answer]:
        worker = max(self._workers, key=_Worker.preference)
        among, last_try_s = worker.begin(), self._loop.time()

        async def charge() -> None:
            nonlocal last_try_s
            last_try_s = self._loop.time()  # handshake and upload of keys are over
            await written_down(photos[0].charge if group is None else group.charge)

        try:
            with contextlib.ExitStack() as spans:
                for photo in photos:
                    spans.enter_context(photo.span.within())
                if group is None:
                    answers = [await worker.connection.request(photos[0].ready.release, before_sending=charge)]
                else:
                    answers = await worker.connection.request_encrypted(group.release, before_sending=charge)
        except UnreachableError:
            worker.window = 1  # what it does not answer need not be counted
            raise
        finally:
            worker.under_way -= 1
        worker.answered(self._loop.time() - last_try_s, among, self._timeout_s)
        return answers

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for worker in self._workers:
            await worker.connection.close()
        await self._loop.shutdown_default_executor()
