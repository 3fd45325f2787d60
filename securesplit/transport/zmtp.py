"""One side of a ZMTP 3 connection (rfc.zeromq.org/spec/23 and /37, NULL mechanism): bytes in, messages and bytes out.

libzmq bounds a frame's size and not the number of frames in a message, and it hands over whole messages only, so what
a peer may make it hold has no bound. Here every bound is checked on a frame's header, before its body is awaited.

Invariants:

- A peer that breaks the protocol or exceeds a bound raises `ZmtpError`; its connection is unusable.
- What is held of a peer is one unfinished message of `max_message_bytes` at most, and the chunk that came last.
- Commands have a budget of their own (`_COMMANDS_BURST`, `_COMMANDS_PER_S`), and answers to PING are as few.
- No I/O and no clock: the caller passes the time and sends what `output` returns.

Left to the caller: deadlines, how many peers there are, and what all of them together may hold.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Collection, Sequence

_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_MAJOR = 3
_MECHANISM = b"NULL".ljust(20, b"\0")
GREETING = _SIGNATURE + bytes([_MAJOR, 0]) + _MECHANISM + bytes(32)
_MORE, _LONG, _COMMAND = 1, 2, 4
_LONG_HEADER = struct.Struct(">BQ")
_SOCKET_TYPE = b"socket-type"
MAX_PARTS = 4  # routing id of a proxy, request id of REQ_CORRELATE, empty delimiter, body
MAX_COMMAND_BYTES = 1_024  # READY of libzmq has 27 to 300 bytes, PING at most 23
_MAX_CONTEXT_BYTES = 16  # of PING, RFC 37
_COMMANDS_BURST, _COMMANDS_PER_S = 32.0, 8.0  # libzmq sends a PING as often as it is set to; the default is never


class ZmtpError(Exception):
    """The peer broke the protocol or exceeded a bound; the message says how."""


class _Stage(enum.Enum):
    GREETING = enum.auto()
    HANDSHAKE = enum.auto()
    TRAFFIC = enum.auto()


def encode(parts: Sequence[bytes]) -> bytes:
    """The frames of one message of one or more parts."""
    last = len(parts) - 1
    pieces = []
    for place, part in enumerate(parts):
        pieces.append(header(len(part), more=place < last))
        pieces.append(part)
    return b"".join(pieces)


def header(size: int, *, more: bool = False) -> bytes:
    """What goes before a part of a message, of `size` bytes; `more` of them follow."""
    return _header(_MORE if more else 0, size)


def _header(flags: int, size: int) -> bytes:
    return bytes((flags, size)) if size < 256 else _LONG_HEADER.pack(flags | _LONG, size)


def _command(name: bytes, data: bytes) -> bytes:
    body = bytes([len(name)]) + name + data
    return _header(_COMMAND, len(body)) + body


def _ready(kind: bytes) -> bytes:
    return _command(b"READY", b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind)


class Connection:
    """The state of one connection.

    Args:
        kind: our socket type, such as ``REQ``.
        partners: socket types that the peer may have.
        max_message_bytes: of all parts of one message together.
    """

    def __init__(self, kind: bytes, partners: Collection[bytes], max_message_bytes: int) -> None:
        self._kind, self._partners, self._max_bytes = kind, partners, max_message_bytes
        self._stage = _Stage.GREETING
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._output = GREETING
        self._credit, self._credited_at = _COMMANDS_BURST, 0.0
        self._now_s = 0.0
        self._pings = 0
        self.frames = 0

    @property
    def is_ready(self) -> bool:
        """Whether the peer's handshake is complete, so that messages may be sent."""
        return self._stage is _Stage.TRAFFIC

    @property
    def held_bytes(self) -> int:
        """Bytes that were received and belong to no message yet."""
        return len(self._buffer) - self._at + self._parts_bytes

    @property
    def awaits_pong(self) -> bool:
        """Whether a `ping` is unanswered."""
        return self._pings > 0

    def output(self) -> bytes:
        """Return, once, what must be sent now: our greeting, READY, and answers to PING."""
        output, self._output = self._output, b""
        return output

    def ping(self) -> bytes:
        """A PING to send; the peer answers it after it has read all that was sent before."""
        self._pings += 1
        return _command(b"PING", bytes(2))  # neither time to live nor context

    def receive(self, data: bytes, now_s: float) -> None:
        """Take what has come; `next_message` then reads it.

        Args:
            data: one or more bytes.
            now_s: a rising clock.
        """
        self._now_s = now_s
        if self._at == len(self._buffer):
            self._buffer, self._at = data, 0
            return
        if self._at or not isinstance(self._buffer, bytearray):
            self._buffer, self._at = bytearray(memoryview(self._buffer)[self._at :]), 0
        self._buffer += data

    def next_message(self) -> list[bytes] | None:
        """The parts of the next message that has come whole, or None.

        Raises:
            ZmtpError: the peer broke the protocol or exceeded a bound.
        """
        if self._stage is _Stage.GREETING and not self._take_greeting():
            return None
        while (frame := self._take_frame()) is not None:
            flags, body = frame
            if flags & _COMMAND:
                self._on_command(body)
                continue
            self._parts.append(body)
            self._parts_bytes += len(body)
            if not flags & _MORE:
                parts, self._parts, self._parts_bytes = self._parts, [], 0
                return parts
        return None

    def _take_greeting(self) -> bool:
        """Check what has come of the greeting, at once and not only when it is whole."""
        came = bytes(self._buffer[: len(GREETING)])
        if not (_SIGNATURE.startswith(came[:1]) and _SIGNATURE.endswith(came[9:10])):  # between them is padding
            raise ZmtpError("no greeting of ZMTP")
        if len(came) > len(_SIGNATURE) and came[len(_SIGNATURE)] < _MAJOR:
            raise ZmtpError("a version of ZMTP before 3")
        if not _MECHANISM.startswith(came[12:32]):
            raise ZmtpError("another mechanism than NULL")
        if len(came) < len(GREETING):
            return False
        self._at = len(GREETING)
        self._stage = _Stage.HANDSHAKE
        self._output += _ready(self._kind)
        return True

    def _take_frame(self) -> tuple[int, bytes] | None:
        """The next frame that has come whole; its header is checked before its body is awaited."""
        buffer, at = self._buffer, self._at
        have = len(buffer) - at
        if have < 2:
            if not have:
                self._buffer, self._at = b"", 0  # a long message's memory is not kept
            return None
        flags, size, start = buffer[at], buffer[at + 1], at + 2
        if flags & _LONG:
            if have < _LONG_HEADER.size:
                return None
            size, start = int.from_bytes(buffer[at + 1 : at + 9], "big"), at + 9
        self._check(flags, size)
        end = start + size
        if end > len(buffer):
            return None
        self._at = end
        self.frames += 1
        return flags, bytes(buffer[start:end])

    def _check(self, flags: int, size: int) -> None:
        if flags & _COMMAND:
            if flags & (_MORE | ~7) or size > MAX_COMMAND_BYTES:
                raise ZmtpError("a command of impossible form")
            return
        if self._stage is not _Stage.TRAFFIC or flags > 7:
            raise ZmtpError("a message before READY, or reserved flags")
        if len(self._parts) + (2 if flags & _MORE else 1) > MAX_PARTS:
            raise ZmtpError("a message of too many parts")
        if self._parts_bytes + size > self._max_bytes:
            raise ZmtpError("a message that is too long")

    def _on_command(self, body: bytes) -> None:
        length = body[0] if body else 0
        name, data = body[1 : 1 + length], body[1 + length :]
        match self._stage, name:
            case _Stage.HANDSHAKE, b"READY":
                self._on_ready(data)
            case _Stage.TRAFFIC, b"PING" if 2 <= len(data) <= 2 + _MAX_CONTEXT_BYTES:
                self._spend()
                self._output += _command(b"PONG", data[2:])
            case _Stage.TRAFFIC, b"PONG" if self._pings:
                self._pings -= 1
            case _:
                raise ZmtpError("a command that has no place here")

    def _on_ready(self, data: bytes) -> None:
        """Read the metadata, of which only the socket type matters."""
        at, kind = 0, b""
        while at < len(data):
            name_end = at + 1 + data[at]
            value_at = name_end + 4
            value_end = value_at + int.from_bytes(data[name_end:value_at], "big")
            if value_end > len(data):
                raise ZmtpError("READY with broken metadata")
            if data[at + 1 : name_end].lower() == _SOCKET_TYPE:
                kind = data[value_at:value_end]
            at = value_end
        if kind not in self._partners:
            raise ZmtpError("a socket type that has no business here")
        self._stage = _Stage.TRAFFIC

    def _spend(self) -> None:
        """Take a command's cost from the peer's budget."""
        back = (self._now_s - self._credited_at) * _COMMANDS_PER_S
        self._credit, self._credited_at = min(_COMMANDS_BURST, self._credit + back) - 1.0, self._now_s
        if self._credit < 0.0:
            raise ZmtpError("too many commands")
