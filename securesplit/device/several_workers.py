"""Photos asked about at several workers at once, for a program that is not asyncio's own.

An event loop in a thread of its own has one connection for each worker, which begins with that worker and goes to the
next one where it fails. A request goes to the connection that has fewest under way, of several such to the one that
was asked least.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Self, TypeVar

from securesplit.device.options import ClientOptions
from securesplit.device.pipeline import PreparedRelease
from securesplit.forking import MadeHere
from securesplit.pki.credentials import Credentials
from securesplit.transport.answer import Answer
from securesplit.transport.async_connection import AsyncConnection

_T = TypeVar("_T")
AT_A_WORKER = 4
"""Requests under way for each worker: its next one is there when it has answered one, also with several tails."""


class SeveralWorkers:
    """Connections to all workers that `options` name; close it.

    Args:
        options: of the client.
        credentials: its present ones.
        identity: of the bundle, 32 bytes.

    Raises:
        ConfigError: an endpoint has another form, or this process may open no more files.
    """

    def __init__(self, options: ClientOptions, credentials: Credentials, identity: bytes) -> None:
        self._made, self._under_way, self._asked = MadeHere("batch"), Counter[int](), Counter[int]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="securesplit-workers", daemon=True)
        self._thread.start()
        self._credentials, self._connections = credentials, list[AsyncConnection]()
        try:
            self._run(self._connect(options, identity))
        except BaseException:
            self.close()
            raise

    @property
    def most(self) -> int:
        """Requests that may be under way at once."""
        return AT_A_WORKER * len(self._connections)

    def ask(self, photo: PreparedRelease) -> Future[Answer]:
        """Begin to ask; the future raises what `Connection.request` does.

        Raises:
            ConfigError: this process is a fork of the one that made this.
        """
        self._made.check()
        return asyncio.run_coroutine_threadsafe(self._ask(photo), self._loop)

    def use(self, credentials: Credentials) -> None:
        """Use these credentials from the next request on."""
        if credentials is self._credentials:
            return
        self._credentials = credentials
        for connection in self._connections:
            self._loop.call_soon_threadsafe(connection.renew, credentials)

    def close(self) -> None:
        """Give up what is under way."""
        if self._made.is_inherited:
            return
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

    async def _connect(self, options: ClientOptions, identity: bytes) -> None:
        known = options.endpoints
        for first in range(len(known)):
            order = [*known[first:], *known[:first]]
            connection = AsyncConnection(order, self._credentials, identity, timeout_s=options.timeout_s)
            self._connections.append(connection)

    async def _ask(self, photo: PreparedRelease) -> Answer:
        chosen = min(range(len(self._connections)), key=lambda n: (self._under_way[n], self._asked[n]))
        self._under_way[chosen] += 1
        self._asked[chosen] += 1

        async def charge() -> None:
            await self._loop.run_in_executor(None, photo.charge)

        try:
            with photo.span.within():
                return await self._connections[chosen].request(photo.ready.release, before_sending=charge)
        finally:
            self._under_way[chosen] -= 1

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for connection in self._connections:
            await connection.close()
        await self._loop.shutdown_default_executor()
