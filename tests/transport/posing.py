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

Reply = Callable[[Request], tuple[int, bytes] | list[tuple[int, bytes]]]
"""A request -> the ref and the plaintext of its answer; or of several, some to requests before it, or of none."""


def posing(reply: Reply, identity: bytes = IDENTITY) -> Any:
    """A worker that proves who it is and seals whatever `reply` makes."""
    channel = ServerChannel(KEYS[0], identity)

    def answer_to(frame: Frame) -> list[bytes]:
        event = channel.receive(b"peer", frames.encode(frame))
        if isinstance(event, Request):
            said = reply(event)
            answers = said if isinstance(said, list) else [said]
            return [channel.seal_reply(event.session, ref, plaintext) for ref, plaintext in answers]
        return [event.frame] if isinstance(event, Send) else []

    return middleman(None, None, answer_to)
