"""File descriptors: as many as the system grants, and some kept free for new tails whatever peers do.

libzmq accepts every connection before the front can look at it, and a stranger's counts as much as a client's. Where
few files may be open, peers that only connect would leave the front no descriptor to start a tail with.
"""

from __future__ import annotations

import contextlib
import os
import resource

from securesplit.errors import ConfigError
from securesplit.text import counted

_WANTED = 65_536
_FRONT = 64  # what a front has open without a client, 21 on Linux, and what its socket needs to be made anew
_TAIL = 8  # one connection and one lifeline each; four more while it is being started


def raise_limit() -> None:
    """Allow this process as many open files as the system grants it without asking, up to 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class DescriptorGuard:
    """Watches how near this process is to its limit of open files.

    Args:
        tails: how many there will be.

    Raises:
        ConfigError: the limit is too low for so many.
    """

    def __init__(self, tails: int) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        reserve = _FRONT + _TAIL * tails
        if limit < 2 * reserve:
            raise ConfigError(
                f"this process may open {limit} files, which is too few for {counted(tails, 'tail')} and their clients",
                hint=f"ulimit -n {2 * reserve} or more, or fewer --workers",
            )
        self._last = limit - reserve

    def is_exceeded(self) -> bool:
        """Whether fewer descriptors than the reserve are free; the system gives out the lowest free number."""
        try:
            lowest = os.dup(0)
        except OSError:
            return True
        os.close(lowest)
        return lowest >= self._last
