"""Ask the worker on this machine how it is: ``python -m securesplit.worker.healthcheck``, a container's health check.

The argument is the page, ``/readyz`` by default. The address is ``SECURESPLIT_METRICS``, by default 127.0.0.1:9464.
Exit code 0: yes; 1: no, or nobody answers.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys

from securesplit.text import printable

_TIMEOUT_S = 2.0
_MOST_BYTES = 1_000_000  # a page of metrics has 20 kB


def main(path: str = "/readyz") -> int:
    """Ask, and pass the answer on."""
    connection = http.client.HTTPConnection(os.environ.get("SECURESPLIT_METRICS", "127.0.0.1:9464"), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        _show(answer.read(_MOST_BYTES).decode("ascii", "backslashreplace"))
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: no address or path has such a form
        _show(f"no answer ({error})")
        return 1
    return int(answer.status != http.client.OK)


def _show(text: str) -> None:
    """Write lines past Python's buffer: the exit code is the answer, also where nobody takes them."""
    if sys.stdout is None:  # closed; the number may belong to a socket by now
        return
    lines = "".join(f"{printable(line)}\n" for line in text.splitlines())
    with contextlib.suppress(OSError):
        os.write(1, lines.encode("ascii", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
