"""The order in which waiting messages are handled: requests of open sessions first, handshakes with the time left.

A handshake costs the front about ten times what a request does. So that a flood of them cannot slow the open sessions
down, each turn of the front's loop handles all requests that have come but only a few handshakes; those that end one
(FIN) go before those that begin one. The waiting line of handshakes is bounded and loses its oldest.
"""

from __future__ import annotations

from collections import deque

from securesplit.channel.frames import FrameType
from securesplit.transport.server import Incoming

_TYPE_AT = 4  # offset of the type in a frame's header
_BURST = 4
_LINE = 256


class Intake:
    """Messages that were received and not handled yet."""

    def __init__(self) -> None:
        self._requests: deque[Incoming] = deque()
        self._ending: deque[Incoming] = deque(maxlen=_LINE)
        self._beginning: deque[Incoming] = deque(maxlen=_LINE)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._requests or self._ending or self._beginning)

    def add(self, message: Incoming) -> None:
        """Let a message wait for its turn."""
        kind = message.body[_TYPE_AT : _TYPE_AT + 1]
        if kind == bytes([FrameType.HELLO]):
            self._beginning.append(message)
        elif kind == bytes([FrameType.FIN]):
            self._ending.append(message)
        else:
            self._requests.append(message)

    def turn(self) -> list[Incoming]:
        """The messages of this turn, in order."""
        handshakes = [*self._take(self._ending, _BURST)]
        handshakes += self._take(self._beginning, _BURST - len(handshakes))
        return [*self._take(self._requests, len(self._requests)), *handshakes]

    @staticmethod
    def _take(line: deque[Incoming], most: int) -> list[Incoming]:
        return [line.popleft() for _ in range(min(most, len(line)))]
