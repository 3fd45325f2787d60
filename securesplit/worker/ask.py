"""Ask the worker on this machine how it is: ``python -m securesplit.worker.ask /readyz``, a container's health check.

The address is ``SECURESPLIT_METRICS``, by default 127.0.0.1:9464. Exit code 0: yes; 1: no, or nobody answers.
"""

from __future__ import annotations

import http.client
import os
import sys

_TIMEOUT_S = 2.0


def main(path: str) -> int:
    """Ask, and pass the answer on."""
    connection = http.client.HTTPConnection(os.environ.get("SECURESPLIT_METRICS", "127.0.0.1:9464"), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        sys.stdout.write(answer.read().decode())
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"no answer ({error})\n")
        return 1
    return int(answer.status != http.client.OK)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
