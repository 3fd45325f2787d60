"""How many tails there should be: more while requests wait, fewer after a quiet time.

Pure arithmetic over what the pool sees ten times a second. Where a new tail finds no room, an actor of a Ray cluster
waits for it, and that is what Ray's autoscaler adds machines for; tails are taken away last started first, so that the
machines that were added last are the first that nothing runs on.
"""

from __future__ import annotations

from math import ceil

_PATIENCE_S = 0.5
"""How long jobs must wait without a break before tails are added: longer than a burst lasts."""


class Scaling:
    """Decides for one pool.

    Args:
        least: tails that there always are.
        most: tails that there may be.
        quiet_s: how long fewer tails must have been enough before any is taken away.
        backlog: waiting jobs for which one more tail is worth its start.
    """

    def __init__(self, least: int, most: int, quiet_s: float, backlog: int) -> None:
        self._least, self._most, self._quiet_s, self._backlog = least, max(least, most), quiet_s, backlog
        self._short_since: float | None = None
        self._quiet_since: float | None = None
        self._peak = 0

    def wanted(self, now: float, *, tails: int, starting: int, busy: int, waiting: int) -> int:
        """How many tails there should be now.

        Args:
            now: seconds, rising from call to call.
            tails: that there are, in every state.
            starting: of these, that cannot compute yet; while there are some, none is added.
            busy: of these, that compute.
            waiting: jobs that no tail has.
        """
        is_short = waiting > 0
        self._short_since = (self._short_since or now) if is_short else None
        if is_short or busy >= tails or self._quiet_since is None:
            self._quiet_since, self._peak = now, 0
        else:
            self._peak = max(self._peak, busy)
        if now - self._quiet_since >= self._quiet_s:
            enough, self._quiet_since = self._peak, None
            return min(tails, max(self._least, enough))
        if self._short_since is None or now - self._short_since < _PATIENCE_S or starting:
            return max(tails, self._least)
        more = min(tails, ceil(waiting / self._backlog))  # twice as many at most
        return max(tails, min(self._most, tails + more))
