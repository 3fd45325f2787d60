"""The order in which waiting messages are handled: what belongs to a session first, new handshakes with the time left.

A handshake costs the front about ten times what a request does. So that a flood of them cannot slow the open sessions
down, each turn of the front's loop handles everything else that has come but only a few HELLOs. The FIN that ends a
handshake needs no such care: there are no more of them than HELLOs that were answered. The line of HELLOs is bounded
and loses its oldest. All other messages keep their order, so that a FIN comes before what follows it.
"""

from __future__ import annotations

from collections import deque

from securesplit.channel.frames import FrameType
from securesplit.transport.server import Incoming

_TYPE_AT = 4  # offset of the type in a frame's header
_HELLOS_A_TURN = 4
_LINE = 256


def is_hello(message: Incoming) -> bool:
    """Whether a message claims to begin a handshake."""
    return message.body[_TYPE_AT : _TYPE_AT + 1] == bytes([FrameType.HELLO])


class Intake:
    """Messages that were received and not handled yet."""

    def __init__(self) -> None:
        self._messages: deque[Incoming] = deque()
        self._hellos: deque[Incoming] = deque(maxlen=_LINE)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._messages or self._hellos)

    def add(self, message: Incoming) -> None:
        """Let a message wait for its turn."""
        (self._hellos if is_hello(message) else self._messages).append(message)

    def turn(self) -> list[Incoming]:
        """The messages of this turn, in order."""
        messages = list(self._messages)
        self._messages.clear()
        return messages + [self._hellos.popleft() for _ in range(min(_HELLOS_A_TURN, len(self._hellos)))]
