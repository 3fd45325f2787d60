"""What a front watches about its own process, since peers can use it up before anyone has authenticated them."""

from __future__ import annotations

from typing import Protocol


class Guard(Protocol):
    """Something that the process has only so much of."""

    @property
    def complaint(self) -> str:
        """What goes on where it is exceeded, for the log."""

    def is_exceeded(self) -> bool:
        """Whether peers take too much."""

    def rebase(self) -> None:
        """All connections were dropped; what is used now is fine."""
