"""WebP (RFC 9649) taken apart into RIFF chunks. Its decoder looks at no metadata, so it gets the file as it is."""

from __future__ import annotations

from collections.abc import Iterator

from securesplit.errors import PhotoError
from securesplit.imaging import integrity
from securesplit.imaging.container import Colour, Container
from securesplit.imaging.orientation import find_orientation

_HEADER_BYTES, _FRAME_BYTES = 12, 16  # before the chunks of a file, and of a frame of an animation
_METADATA = frozenset({b"ICCP", b"EXIF", b"XMP "})
_PIXELS = frozenset({b"VP8 ", b"VP8L", b"ANMF"})  # of an animation, the first frame is the photo
_MAX_CHUNKS = 1000  # an animation has two or more a frame; metadata comes before or after all of them


def read(content: bytes) -> Container:
    """Take a WebP apart.

    Raises:
        PhotoError: it is shorter than it says, or has a hole.
    """
    end = 8 + int.from_bytes(content[4:8], "little")
    if end > len(content):
        raise PhotoError("the WebP is truncated", hint="copy the photo again from its source")
    found: dict[bytes, bytes] = {}
    for kind, body in _chunks(content[:end], _HEADER_BYTES):
        if kind in _PIXELS | _METADATA:
            found.setdefault(kind, body)
    found |= dict(_chunks(found.get(b"ANMF", b""), _FRAME_BYTES))
    for kind in _PIXELS - {b"ANMF"}:
        integrity.check_no_hole(found.get(kind, b""))
    return Container(
        "WEBP",
        content,
        orientation=find_orientation(found.get(b"EXIF", b""), found.get(b"XMP ", b"")),
        colour=Colour(icc=found.get(b"ICCP", b"")),
    )


def _chunks(content: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(content):
            return
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
