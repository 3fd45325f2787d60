"""A worker with a good certificate that answers whatever a test makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from securesplit.channel import frames
from securesplit.channel.events import Request, Send
from securesplit.channel.frames import Frame
from securesplit.channel.server import ServerChannel
from securesplit_testing.serving import IDENTITY
from tests.transport.clients import KEYS
from tests.transport.middleman import middleman

Reply = Callable[[Request], tuple[int, bytes]]
"""A request -> the ref and the plaintext of its answer."""


def posing(reply: Reply, identity: bytes = IDENTITY) -> Any:
    """A worker that proves who it is and seals whatever `reply` makes."""
    channel = ServerChannel(KEYS[0], identity)

    def answer_to(frame: Frame) -> list[bytes]:
        event = channel.receive(b"peer", frames.encode(frame))
        if isinstance(event, Request):
            ref, plaintext = reply(event)
            return [channel.seal_reply(event.session, ref, plaintext)]
        return [event.frame] if isinstance(event, Send) else []

    return middleman(None, None, answer_to)
