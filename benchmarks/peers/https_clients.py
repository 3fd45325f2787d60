"""Clients of the tails that are served over HTTPS with mutual TLS, alike for all: asyncio streams, kept alive."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.peers import burst
from benchmarks.peers.peer import LOOPBACK, Inputs

FORMS: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
    "octets": ("/", "application/octet-stream", lambda release: release),
    "json": ("/", "application/json", lambda release: b'{"release": "%b"}' % base64.b64encode(release)),
    "list": ("/batches", "application/json", lambda release: b'{"releases": ["%b"]}' % base64.b64encode(release)),
}
"""By name, path, content type and body of a request."""


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class HttpsClient:
    """One connection, made again where the server has closed it for being idle, as every HTTP client does.

    Args:
        connect: makes it.
        form: of `FORMS`.
    """

    def __init__(self, connect: Callable[[], Awaitable[Streams]], form: str) -> None:
        self._connect, self._form = connect, form
        self._streams: Streams | None = None

    async def ask(self, release: bytes) -> float:
        """POST a release; the answer is a number as text or JSON, or a list of one."""
        try:
            return await self._ask(release)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            self._streams = None
            return await self._ask(release)

    async def _ask(self, release: bytes) -> float:
        if self._streams is None:
            self._streams = await self._connect()
        reader, writer = self._streams
        path, kind, form = FORMS[self._form]
        body = form(release)
        lines = f"POST {path} HTTP/1.1", f"Host: {LOOPBACK}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"
        writer.write("\r\n".join((*lines, "\r\n")).encode() + body)
        status, answer = await _answer(reader)
        if status != "200":
            raise ValueError(f"HTTP {status}: {answer[:200]!r}")
        logit = json.loads(answer)
        return float(logit[0] if isinstance(logit, list) else logit)


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Status and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.split(b" ", 2)[1].decode()
    if b"transfer-encoding: chunked" not in head:
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return status, await reader.readexactly(length)
    found = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        found += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return status, found


def context(inputs: Inputs) -> ssl.SSLContext:
    """TLS of a client with a certificate."""
    certs = inputs.folder / "certs"
    found = ssl.create_default_context(cafile=certs / "ca.crt")
    found.load_cert_chain(certs / "clients/device.crt", certs / "clients/device.key")
    return found


def main(form: str, folder: str, port: str) -> None:
    """Ask until standard input ends."""
    inputs = Inputs(Path(folder))
    tls = context(inputs)

    async def connect() -> HttpsClient:
        return HttpsClient(lambda: asyncio.open_connection(LOOPBACK, int(port), ssl=tls), form)

    asyncio.run(burst.run(inputs, connect))


if __name__ == "__main__":
    main(*sys.argv[1:])
