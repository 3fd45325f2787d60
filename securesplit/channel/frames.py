"""Frames: the 40-byte header that every message carries, and the clear-text body of ERR.

Invariants:

- ``decode(encode(frame)) == frame``, and ``encode(decode(data)) == data``: one frame has one spelling.
- The header is the additional authenticated data of a sealed body; nothing outside it steers a decision.
- Nothing here trusts a frame: that a frame decodes says only that it is well formed.

Layout, big-endian: magic ``SSP1``, type u8, code u8, reserved u16 (zero), seq u64, ref u64, session id 16 bytes.
Sealing belongs to ``sealing.py``; which frame is legal when belongs to ``states.py``.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from securesplit.errors import SecureSplitError

MAGIC = b"SSP1"
_HEADER = struct.Struct(">4sBBHQQ16s")
HEADER_BYTES = _HEADER.size  # 40
SESSION_BYTES = 16
IDENTITY_BYTES = 32
REF_BITS = 64
NO_SESSION = bytes(SESSION_BYTES)
MAX_BODY_BYTES = 1 << 20  # bytes; a raw cut of 16×16×320 float32, the largest in docs/design.md, is 320 KiB
MAX_ERROR_DETAIL_BYTES = 256  # bytes; a TLS alert takes 24 and a bundle identity 32

_FIN = struct.Struct(">H")
_ERROR = struct.Struct(">IHH")


class FrameError(SecureSplitError):
    """The peer sent bytes that are no valid frame here; they change no state and can be ignored."""

    exit_code = 8


class FrameType(enum.IntEnum):
    """What a frame is for; HELLO to FREPLY make the handshake."""

    HELLO = 1
    HREPLY = 2
    FIN = 3
    FREPLY = 4
    REQ = 5
    REP = 6
    ERR = 7


class Code(enum.IntEnum):
    """Why an ERR was sent; OK on every other frame."""

    OK = 0
    BAD = 1
    UNKNOWN_SESSION = 2
    BUSY = 3
    TLS = 4
    TOO_BIG = 5
    WORKER = 6
    DRAIN = 7


class Reason(enum.IntEnum):
    """What the detail of an ERR holds."""

    NONE = 0
    ALERT = 1
    BUNDLE = 2
    PRESET = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        type: what the message is.
        code: ``Code.OK``, or the reason of an ERR.
        seq: the sender's counter in this direction, 0 where the body is not sealed.
        ref: the client's request id, the same on every retry; 0 in a handshake's first two frames.
        session: 16 bytes; the handshake's id until FIN, the session's id from FREPLY on.
        body: sealed or clear bytes, as the type says.
    """

    type: FrameType
    code: Code = Code.OK
    seq: int = 0
    ref: int = 0
    session: bytes = NO_SESSION
    body: bytes = b""

    @property
    def header(self) -> bytes:
        """The 40 bytes that are authenticated with a sealed body."""
        return _HEADER.pack(MAGIC, self.type, self.code, 0, self.seq, self.ref, self.session)


def encode(frame: Frame) -> bytes:
    """Turn a frame into its bytes."""
    return frame.header + frame.body


def decode(data: bytes, *, max_body_bytes: int = MAX_BODY_BYTES) -> Frame:
    """Parse one frame.

    Raises:
        FrameError: the bytes are short, oversized, or use an unknown or impossible field.
    """
    if len(data) < HEADER_BYTES:
        raise FrameError(f"a frame of {len(data):,} bytes is shorter than its header of {HEADER_BYTES}")
    if len(data) > HEADER_BYTES + max_body_bytes:
        raise FrameError(f"a frame of {len(data):,} bytes is over the limit of {HEADER_BYTES + max_body_bytes:,}")
    magic, kind, code, reserved, seq, ref, session = _HEADER.unpack_from(data)
    if magic != MAGIC or reserved:
        raise FrameError("the bytes are not a frame of this protocol")
    try:
        frame = Frame(FrameType(kind), Code(code), seq, ref, session, bytes(data[HEADER_BYTES:]))
    except ValueError as error:
        raise FrameError(f"a frame has an unknown type or code: {error}") from None
    if (frame.type is FrameType.ERR) is (frame.code is Code.OK):
        raise FrameError(f"a {frame.type.name} frame cannot have the code {frame.code.name}")
    return frame


def session_of(data: bytes) -> bytes:
    """The session that bytes claim to belong to, without parsing the rest; short for what is not a frame."""
    return data[HEADER_BYTES - SESSION_BYTES : HEADER_BYTES]


def ref_of(data: bytes) -> int:
    """The id of the request that bytes claim to be, likewise."""
    return int.from_bytes(data[16:24], "big")


def hello_body(identity: bytes, flight: bytes) -> bytes:
    """The body of HELLO: the bundle's identity (32 bytes), then what TLS says."""
    return identity + flight


def read_hello(body: bytes) -> tuple[bytes, bytes]:
    """The identity and what TLS says; either may be short."""
    return body[:IDENTITY_BYTES], body[IDENTITY_BYTES:]


def fin_body(flight: bytes) -> bytes:
    """The body of FIN up to the sealed request: the length of what TLS says u16, and that."""
    return _FIN.pack(len(flight)) + flight


def read_fin(body: bytes) -> tuple[bytes, bytes]:
    """What TLS says, and the sealed request; the latter is empty where the body is too short."""
    length = _FIN.unpack_from(body)[0] if len(body) >= _FIN.size else len(body)
    return body[_FIN.size :][:length], body[_FIN.size + length :]


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The clear-text body of ERR: a hint that nobody has authenticated.

    Attributes:
        retry_after_ms: how long to wait before trying again; 0 for no advice.
        reason: what ``detail`` holds.
        detail: at most 256 bytes: the TLS alert as the TLS library wrote it, or the bundle identity of the server.
    """

    retry_after_ms: int = 0
    reason: Reason = Reason.NONE
    detail: bytes = b""

    def encode(self) -> bytes:
        """Turn the body into its bytes: retry_after_ms u32, reason u16, reserved u16 (zero), detail."""
        return _ERROR.pack(self.retry_after_ms, self.reason, 0) + self.detail[:MAX_ERROR_DETAIL_BYTES]

    @classmethod
    def decode(cls, data: bytes) -> ErrorBody:
        """Parse the body of an ERR.

        Raises:
            FrameError: the body is short, long, or has an unknown reason.
        """
        if not _ERROR.size <= len(data) <= _ERROR.size + MAX_ERROR_DETAIL_BYTES:
            raise FrameError(f"an ERR body of {len(data):,} bytes is out of bounds")
        retry_after_ms, reason, reserved = _ERROR.unpack_from(data)
        if reserved or reason not in tuple(Reason):
            raise FrameError("an ERR body has an unknown reason")
        return cls(retry_after_ms, Reason(reason), data[_ERROR.size :])
