"""How much memory this process has grown by since it was last known to be fine.

What the front holds of its peers is counted and bounded (``transport/peers.py``). What libzmq holds of connections
that it has accepted and the front has not seen yet, about 50 kB each, nobody can count: where strangers come and go
faster than the front sees them off, it shows in the memory of the process alone (ADR 019).
"""

from __future__ import annotations

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")
ALLOWANCE_BYTES = 256 << 20  # connections, sessions, and what is held of peers, at their bounds, take 200 MB


class MemoryGuard:
    """Watches the resident memory of this process (Linux; elsewhere it never complains).

    Args:
        allowance_bytes: growth that is still fine.
    """

    def __init__(self, allowance_bytes: int = ALLOWANCE_BYTES) -> None:
        self._allowance = allowance_bytes
        self.rebase()

    def rebase(self) -> None:
        """Call the present size fine."""
        self._base = _resident_bytes()

    def is_exceeded(self) -> bool:
        """Whether the process has grown by more than the allowance."""
        return _resident_bytes() - self._base > self._allowance


def _resident_bytes() -> int:
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
