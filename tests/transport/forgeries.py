"""What somebody without a key can answer in a worker's place."""

from __future__ import annotations

from securesplit.channel import frames
from securesplit.channel.frames import NO_SESSION, Code, Frame, FrameType, Reason
from tests.transport.middleman import Forge, err

NEVER_MS = 0xFFFFFFFF  # 49 days


def alert(number: int) -> bytes:
    return bytes([21, 3, 3, 0, 2, 2, number])


def sealed(frame: Frame, kind: FrameType) -> list[bytes]:
    return [frames.encode(Frame(kind, seq=1, ref=frame.ref, session=frame.session, body=bytes(56)))]


FORGERIES: dict[str, Forge] = {
    "bad": lambda f: err(Code.BAD, f),
    "unknown-session": lambda f: err(Code.UNKNOWN_SESSION, f),
    "busy": lambda f: err(Code.BUSY, f),
    "busy-49-days": lambda f: err(Code.BUSY, f, retry_after_ms=NEVER_MS),
    "drain-49-days": lambda f: err(Code.DRAIN, f, retry_after_ms=NEVER_MS),
    "too-big": lambda f: err(Code.TOO_BIG, f),
    "worker": lambda f: err(Code.WORKER, f),
    "tls": lambda f: err(Code.TLS, f),
    "other-bundle": lambda f: err(Code.TLS, f, reason=Reason.BUNDLE, detail=b"\xab" * 32),
    "other-bundle-short": lambda f: err(Code.TLS, f, reason=Reason.BUNDLE, detail=b"\x1b[2J"),
    **{
        f"alert-{n}": lambda f, n=n: err(Code.TLS, f, reason=Reason.ALERT, detail=alert(n))  # type: ignore[misc]
        for n in (44, 45, 80)
    },
    "alert-noise": lambda f: err(Code.TLS, f, reason=Reason.ALERT, detail=bytes(200)),
    "any-session": lambda f: err(Code.WORKER, f, session=NO_SESSION),
    "other-session": lambda f: err(Code.UNKNOWN_SESSION, f, session=b"x" * 16),
    "other-ref": lambda f: err(Code.WORKER, f, ref=f.ref + 7),
    "flight": lambda f: sealed(f, FrameType.HREPLY),
    "flight-alert": lambda f: [frames.encode(Frame(FrameType.HREPLY, session=f.session, body=alert(44)))],
    "first-reply": lambda f: sealed(f, FrameType.FREPLY),
    "reply": lambda f: sealed(f, FrameType.REP),
    "echo": lambda f: [frames.encode(f)],
    "short": lambda _: [b"SSP1"],
    "empty": lambda _: [b""],
    "silence": lambda _: [],
}
