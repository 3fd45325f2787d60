"""A small HTTP server beside the front: ``/livez``, ``/readyz`` and ``/metrics``, for this machine only.

Invariants:

- It runs in a thread of its own and only reads, so no request here can make the front wait.
- It listens on loopback unless the operator allows other addresses: who reaches it sees how busy the worker is.
- It answers to loopback's names, the addresses that it is reached at, and names that the operator lists. A web page
  cannot reach it through a browser by giving its own name one of these addresses (DNS rebinding). A request without a
  Host does not come from a browser, and is answered (HAProxy's checks are such).
- A connection is one GET, with 2 s and 8 KiB for it; of more than 32 at once the oldest is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from securesplit.errors import ConfigError, SecureSplitError
from securesplit.transport.endpoint import LOOPBACK_NAMES, Endpoint, is_loopback

TEXT = "text/plain; charset=utf-8"
_REQUEST_BYTES = 8_192
_REQUEST_S = 2.0
_CONNECTIONS = 32
_BACKLOG = 64
_ASKED = "not asked by a name of this worker; list it with --metrics-host"


@dataclass(frozen=True, slots=True)
class Page:
    """What a path shows.

    Attributes:
        status: of HTTP.
        body: its bytes.
        content_type: of the body.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


class HealthServer:
    """Serves pages until it is closed.

    Args:
        address: ``HOST:PORT``; port 0 lets the system choose.
        pages: by path, what makes the page; called in this server's thread.
        anywhere: listen also where other machines may reach it.
        hosts: further names that it is asked by.

    Attributes:
        address: where it really listens, ``HOST:PORT``.

    Raises:
        ConfigError: the address is none of this machine's, is taken, or is reachable by others.
    """

    def __init__(
        self,
        address: str,
        pages: Mapping[str, Callable[[], Page]],
        *,
        anywhere: bool = False,
        hosts: Collection[str] = (),
    ) -> None:
        self._pages = pages
        named = address.rpartition(":")[0]
        self._names = {_host_name(name) for name in (*LOOPBACK_NAMES, named, *hosts)}
        self._socket = _listen(address, anywhere=anywhere)
        self.address = str(Endpoint(*self._socket.getsockname()[:2])).removeprefix("tcp://")
        self._open: OrderedDict[asyncio.StreamWriter, None] = OrderedDict()
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="securesplit-health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        server = await asyncio.start_server(self._serve, sock=self._socket, limit=_REQUEST_BYTES, backlog=_BACKLOG)
        async with server:
            await self._stop.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > _CONNECTIONS:
            next(iter(self._open)).transport.abort()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head, str(writer.get_extra_info("sockname")[0])))
                await writer.drain()
        del self._open[writer]
        writer.close()

    def _answer(self, head: bytes, reached_at: str) -> bytes:
        first, *fields = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        page = (
            self._page(words) if self._is_meant(fields, reached_at) else _text(HTTPStatus.MISDIRECTED_REQUEST, _ASKED)
        )
        line = f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        about = f"Content-Type: {page.content_type}\r\nContent-Length: {len(page.body)}\r\n"
        ending = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        return (line + about + ending).encode("latin-1") + (b"" if words[0] == "HEAD" else page.body)

    def _is_meant(self, fields: list[str], reached_at: str) -> bool:
        """Whether every Host of a request is one of ours; `reached_at` is our end of its connection."""
        asked = [value for name, _, value in (field.partition(":") for field in fields) if name.lower() == "host"]
        return all(
            is_loopback(name) or name in self._names | {_host_name(reached_at)} for name in map(_without_port, asked)
        )

    def _page(self, words: list[str]) -> Page:
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _text(HTTPStatus.BAD_REQUEST, "not HTTP/1.1")
        if words[0] not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "GET only")
        make = self._pages.get(words[1].partition("?")[0])
        return _text(HTTPStatus.NOT_FOUND, " ".join(self._pages)) if make is None else make()


def _without_port(host: str) -> str:
    """The name or address of a Host field (RFC 9110, section 7.2)."""
    text = host.strip()
    return _host_name(text if text.endswith("]") or ":" not in text else text.rpartition(":")[0])


def _host_name(text: str) -> str:
    """A name or address as it is compared: without brackets, in lowercase, an address in its shortest form."""
    name = text.strip("[]").partition("%")[0].lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _text(status: HTTPStatus, text: str) -> Page:
    return Page(status, f"{text}\n".encode())


def _listen(address: str, *, anywhere: bool) -> socket.socket:
    """Bind.

    Raises:
        ConfigError: as for `HealthServer`.
    """
    try:
        endpoint = Endpoint.parse(f"tcp://{address}", listening=True)
        found = [Endpoint("0.0.0.0", endpoint.port)] if endpoint.host == "*" else endpoint.resolve()  # noqa: S104
    except SecureSplitError as error:
        hint = "write --metrics HOST:PORT, such as 127.0.0.1:9464"
        raise ConfigError(f"--metrics {address!r} is not an address of this machine", hint=hint) from error
    reachable = [each.host for each in found if not is_loopback(each.host)]
    if reachable and not anywhere:
        raise ConfigError(
            f"--metrics {address} can be reached from other machines ({reachable[0]})",
            hint="use 127.0.0.1, or add --metrics-anywhere and close the port in the firewall to all but your monitor",
        )
    return found[0].listen(_BACKLOG, "--metrics")
