"""What arrives at an open port: scanners, other protocols, half a greeting, and worse."""

from __future__ import annotations

import random
from collections.abc import Callable

from securesplit.channel import frames

# ZMTP 3.0 (rfc.zeromq.org/spec/23), NULL mechanism: the greeting, and READY of a DEALER.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x05READY\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
READY = b"\x04" + bytes([len(_READY)]) + _READY
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(193))


def message(*parts: bytes) -> bytes:
    """A ZMTP message of frames shorter than 256 bytes."""
    last = len(parts) - 1
    return b"".join(bytes([n < last, len(part)]) + part for n, part in enumerate(parts))


# ZMTP 1.0 (rfc.zeromq.org/spec/13): no greeting but an identity, here none; a frame's length counts its flags.
OLD_GREETING = b"\x01\x00"


def old_message(*parts: bytes) -> bytes:
    """A ZMTP 1.0 message of short frames."""
    last = len(parts) - 1
    return b"".join(bytes([len(part) + 1, n < last]) + part for n, part in enumerate(parts))


def channel_frame(source: random.Random) -> bytes:
    """A frame of our own channel that belongs to nothing, its type and session at random."""
    kind = source.choice(list(frames.FrameType)[:-1])
    return frames.encode(frames.Frame(kind, seq=1, ref=2, session=source.randbytes(16), body=source.randbytes(60)))


KINDS: list[Callable[[random.Random], bytes]] = [
    lambda _: b"",
    lambda source: source.randbytes(1 + int(200 * source.random())),
    lambda _: b"GET / HTTP/1.1\r\nHost: tail\r\n\r\n",
    lambda _: b"SSH-2.0-OpenSSH_9.2\r\n",
    lambda _: TLS_HELLO,
    lambda source: GREETING[: int(64 * source.random())],
    lambda source: GREETING + source.randbytes(40),
    lambda _: GREETING + READY,
    lambda _: GREETING + READY + b"\x02" + (1 << 62).to_bytes(8, "big"),
    lambda source: GREETING + READY + message(source.randbytes(20)),
    lambda source: GREETING + READY + message(*[b""] * 9),
    lambda source: GREETING + READY + message(b"", source.randbytes(60)),
    lambda source: GREETING + READY + message(b"", channel_frame(source)) * 3,
    lambda source: OLD_GREETING + old_message(b"", channel_frame(source)),
]


def draw(source: random.Random) -> bytes:
    """The bytes of one connection."""
    return KINDS[int(source.random() * len(KINDS))](source)
