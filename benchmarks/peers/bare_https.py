"""The tail behind the least that speaks HTTPS with mutual TLS: asyncio streams of the standard library, one process.

No queue, no batches, no limits, no second process: less than anybody would run, and so a floor for the others. It is
the reference that ratios of served tails are taken of, since every machine has it.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

from benchmarks.peers.peer import LOOPBACK, Inputs, Tail


def context(inputs: Inputs) -> ssl.SSLContext:
    """TLS of a server that asks its clients for certificates."""
    files = inputs.server_tls
    found = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files["ca"])
    found.load_cert_chain(files["cert"], files["key"])
    found.verify_mode = ssl.CERT_REQUIRED
    return found


async def serve(inputs: Inputs, port: int) -> None:
    """Until the process ends."""
    tail = Tail(inputs)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = str(tail(await reader.readexactly(length))).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, port, ssl=context(inputs), backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Inputs(Path(sys.argv[2])), int(sys.argv[3])))
