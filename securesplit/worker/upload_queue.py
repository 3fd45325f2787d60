"""Who may upload evaluation keys next, and when to ask again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

GONE_S = 10.0
"""A device that waits asks again within `retry_policy.MAX_WAIT_S`, and sends a piece each time; else it has gone."""
LEAST_WAIT_S, MOST_WAIT_S = 0.25, 5.0
_LEARN = 0.2  # share of an upload in the average of how long they take
_FIRST_TURN_S = 2.0  # that average, before there was an upload


class UploadQueue:
    """Clients that wait for room, in the order in which they came.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._turn_s = clock, _FIRST_TURN_S
        self._asked: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asked)

    def is_next(self, owner: str, room: int) -> bool:
        """Whether a client that asks now has its turn; else it waits behind those who asked before.

        Args:
            owner: of the keys.
            room: uploads that could begin now.
        """
        now = self._clock()
        for gone in [other for other, asked in self._asked.items() if now - asked > GONE_S]:
            del self._asked[gone]
        if self._ahead(owner) < room:
            self._asked.pop(owner, None)
            return True
        self._asked[owner] = now
        return False

    def wait_ms(self, owner: str, at_once: int) -> int:
        """After how long a client's turn is likely to come, where so many upload at once; a quarter to five seconds."""
        wait_s = self._turn_s * (1 + self._ahead(owner)) / at_once
        return round(1e3 * min(MOST_WAIT_S, max(LEAST_WAIT_S, wait_s)))

    def ended(self, took_s: float) -> None:
        """Learn how long uploads take."""
        self._turn_s += _LEARN * (took_s - self._turn_s)

    def _ahead(self, owner: str) -> int:
        """How many were there before."""
        for place, other in enumerate(self._asked):
            if other == owner:
                return place
        return len(self._asked)
