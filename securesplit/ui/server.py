"""Serve the page on this machine until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from securesplit.device.async_client import AsyncClient
from securesplit.transport.endpoint import LOOPBACK, Endpoint
from securesplit.ui import app
from securesplit.ui.access import Access

LAST_REQUESTS_S = 3
"""What requests under way at the end still have."""
_BACKLOG = 64


def serve(
    new_client: Callable[[], AsyncClient],
    port: int,
    *,
    workers: tuple[str, ...],
    state: Path | None = None,
    lang: str | None = None,
    on_address: Callable[[str], None],
) -> None:
    """Serve the page until SIGINT or SIGTERM; only from a program's main thread.

    Args:
        new_client: makes what asks the worker, once the port is ours; it is closed in the end.
        port: to listen on; 0: any that is free.
        workers: the endpoints, for people; none where the worker is a part of this program.
        state: the state folder; None: the user's own.
        lang: of the page; None: what the browser asks for.
        on_address: called with each address that opens the page: once it can be opened, and whenever one was used.

    Raises:
        ConfigError: the port cannot be had.
    """
    with Endpoint(LOOPBACK, port).listen(_BACKLOG, "--port") as listener:
        port = listener.getsockname()[1]
        access = Access(lambda key: on_address(_address(port, key, lang)))
        page = app.build(new_client(), app.Settings(port, workers, state), access)
        server = _Server(page, lambda: on_address(_address(port, access.key, lang)))
        with _ended_by_signals(server):
            asyncio.run(server.serve([listener]))


def open_browser(address: str) -> None:
    """Open the address in the user's browser, where there is one with windows; does not wait for it."""
    has_windows = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_windows:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


class _Server(uvicorn.Server):
    """uvicorn, which leaves signals and logging to us.

    Args:
        page: the application.
        on_ready: called once requests are answered.
    """

    def __init__(self, page: ASGIApp, on_ready: Callable[[], None]) -> None:
        log = logging.getLogger("uvicorn.error")  # what a stranger sends is not worth a line each
        log.setLevel(logging.CRITICAL)
        super().__init__(
            uvicorn.Config(
                page,
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=LAST_REQUESTS_S,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer requests."""
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: `_ended_by_signals` does."""
        yield


@contextlib.contextmanager
def _ended_by_signals(server: _Server) -> Iterator[None]:
    """The first signal ends the server; a second one ends the process at once, also while the head computes."""

    def end(number: int, _frame: object) -> None:
        if server.should_exit:
            os._exit(128 + number)
        server.should_exit = True

    heeded = (n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN)
    old = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _address(port: int, key: str, lang: str | None) -> str:
    return f"http://{LOOPBACK}:{port}/?key={key}" + (f"&lang={lang}" if lang else "")
