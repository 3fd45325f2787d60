"""Ask the worker on this machine how it is: ``python -m securesplit.worker.healthcheck``, a container's health check.

The argument is the page, ``/readyz`` by default. The address is ``SECURESPLIT_METRICS``, by default 127.0.0.1:9464.
Exit code 0: yes; 1: no, or nobody answers.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
import threading

from securesplit.text import printable

_TIMEOUT_S = 2.0
_MOST_BYTES = 1_000_000  # a page of metrics has 20 kB


FAULTS = OSError, ValueError, http.client.HTTPException
"""What `fetch` raises; ValueError where no address or path has such a form."""


def main(path: str = "/readyz", *others: str) -> int:
    """Ask, and pass the answer on."""
    if others or not path.startswith("/"):
        _show("usage: python -m securesplit.worker.healthcheck [/readyz | /livez | /metrics]")
        return 1
    try:
        status, page = fetch(os.environ.get("SECURESPLIT_METRICS", "127.0.0.1:9464"), path, within_s=_TIMEOUT_S)
    except FAULTS as error:
        _show(f"no answer ({error})")
        return 1
    _show(page)
    return int(status != http.client.OK)


def fetch(address: str, path: str, *, within_s: float) -> tuple[int, str]:
    """A page of a worker's ``--metrics``, at most 1 MB of it.

    Args:
        address: ``HOST:PORT``.
        path: of the page.
        within_s: until there is a connection, and as long again for the whole answer: a server may send a byte now and
            then.

    Returns:
        HTTP's status, and the page in ASCII.

    Raises:
        OSError, ValueError, http.client.HTTPException: nobody answers so, or not in time.
    """
    connection = http.client.HTTPConnection(address, timeout=within_s)
    connection.connect()
    peer, over = connection.sock, threading.Event()

    def cut() -> None:
        over.set()
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)

    clock = threading.Timer(within_s, cut)
    clock.start()
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        page = answer.read(_MOST_BYTES)
    except FAULTS:
        if over.is_set():
            raise TimeoutError("timed out") from None
        raise
    finally:
        clock.cancel()
        connection.close()
    if over.is_set():
        raise TimeoutError("timed out")
    return answer.status, page.decode("ascii", "backslashreplace")


def _show(text: str) -> None:
    """Write lines past Python's buffer: the exit code is the answer, also where nobody takes them."""
    if sys.stdout is None:  # closed; the number may belong to a socket by now
        return
    lines = "".join(f"{printable(line)}\n" for line in text.splitlines())
    with contextlib.suppress(OSError):
        os.write(1, lines.encode("ascii", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
