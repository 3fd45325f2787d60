"""WebP (RFC 9649) taken apart into RIFF chunks. Its decoder looks at no metadata, so it gets the file as it is."""

from __future__ import annotations

from securesplit.errors import PhotoError
from securesplit.imaging import integrity
from securesplit.imaging.container import Colour, Container
from securesplit.imaging.orientation import find_orientation

_HEADER_BYTES = 12
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
    at = _HEADER_BYTES
    for _ in range(_MAX_CHUNKS):
        if at + 8 > end:
            break
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if (kind := content[at : at + 4]) in {b"ICCP", b"EXIF", b"XMP ", b"VP8 "}:
            found.setdefault(kind, content[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    integrity.check_no_hole(found.get(b"VP8 ", b""))
    return Container(
        "WEBP",
        content,
        orientation=find_orientation(found.get(b"EXIF", b""), found.get(b"XMP ", b"")),
        colour=Colour(icc=found.get(b"ICCP", b"")),
    )
