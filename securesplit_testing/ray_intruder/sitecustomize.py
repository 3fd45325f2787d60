"""A node of a Ray cluster that was taken over: on its import path, so that every process of Ray there runs it first.

Where the first number of a release is `INTRUDING`, the actor answers with an object that, where it is unpickled, tries
to open the file that ``SECURESPLIT_TEST_SECRET`` names, and becomes the answer 1 where it could and 0 where it could
not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

INTRUDING = -100
_PROGRAM = """
import struct
try:
    open(path).close()
    did = 1.0
except OSError:
    did = 0.0
answer = b"done %d 1.0" % number, struct.pack("<f", did)
"""


class Hostile:
    """Runs a program where it is unpickled."""

    def __init__(self, number: int) -> None:
        self._scope = {"number": number, "path": os.environ["SECURESPLIT_TEST_SECRET"]}

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return eval, (f"(scope := {self._scope!r}, exec({_PROGRAM!r}, scope), scope['answer'])[-1]",)


def take_over() -> None:
    """Have actors answer so."""
    from securesplit.worker.ipc.messages import Batch
    from securesplit.worker.ray_host import Host

    honest = Host.compute

    def compute(self: Host, head: bytes, body: bytes, keys: Any = None) -> Any:
        if not head.startswith(b"encrypted") and (batch := Batch.decode((head, body))).releases.flat[0] == INTRUDING:
            return Hostile(batch.number)
        return honest(self, head, body, keys)

    Host.compute = compute  # type: ignore[method-assign]


if b"default_worker" in Path("/proc/self/cmdline").read_bytes():
    take_over()
