"""Turns: owners take turns, and the lanes of an owner take turns within the owner's turn.

Of the owners that wait, the one whose last turn is longest ago is next: neither many items nor many lanes give an owner
more than its share, and one that asks now and then waits for nobody who has just had a turn. The order within a lane
stays.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
_REMEMBERED = 1_024  # owners that do not wait


class Turns(Generic[Item]):
    """Items that wait, by owner and lane."""

    def __init__(self) -> None:
        self._owners: dict[str, OrderedDict[bytes, deque[Item]]] = {}
        self._last_turn: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._total = self._turn = 0

    def __len__(self) -> int:
        return self._total

    def of(self, owner: str) -> int:
        """How many items of an owner wait."""
        return self._waiting.get(owner, 0)

    def put(self, owner: str, lane: bytes, item: Item) -> None:
        """Let an item wait, last in its lane."""
        lanes = self._owners.setdefault(owner, OrderedDict())
        lanes.setdefault(lane, deque()).append(item)
        self._count(owner, 1)

    def peek(self) -> Item | None:
        """The item whose turn it is; None where nothing waits."""
        if not self._owners:
            return None
        lanes = self._owners[self._next()]
        return next(iter(lanes.values()))[0]

    def take(self) -> Item:
        """Remove and return the item whose turn it is; something must wait."""
        owner = self._next()
        lanes = self._owners[owner]
        lane, items = next(iter(lanes.items()))
        item = items.popleft()
        lanes.move_to_end(lane)
        self._had_turn(owner)
        if not items:
            del lanes[lane]
        if not lanes:
            del self._owners[owner]
        self._count(owner, -1)
        return item

    def most(self) -> str:
        """The owner of whom most waits; something must wait."""
        return max(self._waiting, key=lambda owner: self._waiting[owner])

    def take_latest(self, owner: str) -> Item:
        """Remove and return the last item of the longest lane of an owner of whom something waits."""
        lanes = self._owners[owner]
        lane = max(reversed(lanes), key=lambda name: len(lanes[name]))
        item = lanes[lane].pop()
        if not lanes[lane]:
            del lanes[lane]
        if not lanes:
            del self._owners[owner]
        self._count(owner, -1)
        return item

    def remove_where(self, is_over: Callable[[Item], bool]) -> list[Item]:
        """Remove and return the items that a condition holds for."""
        removed = []
        for owner in list(self._owners):
            lanes = self._owners[owner]
            for lane in list(lanes):
                over = [item for item in lanes[lane] if is_over(item)]
                if not over:
                    continue
                removed += over
                self._count(owner, -len(over))
                lanes[lane] = deque(item for item in lanes[lane] if not is_over(item))
                if not lanes[lane]:
                    del lanes[lane]
            if not lanes:
                del self._owners[owner]
        return removed

    def _next(self) -> str:
        return min(self._owners, key=lambda owner: self._last_turn.get(owner, 0))

    def _had_turn(self, owner: str) -> None:
        self._turn += 1
        self._last_turn[owner] = self._turn
        if len(self._last_turn) > _REMEMBERED + len(self._owners):
            self._last_turn = {name: turn for name, turn in self._last_turn.items() if name in self._owners}

    def _count(self, owner: str, more: int) -> None:
        self._total += more
        self._waiting[owner] = self._waiting.get(owner, 0) + more
        if not self._waiting[owner]:
            del self._waiting[owner]
