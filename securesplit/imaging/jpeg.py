"""JPEG (ITU-T T.81) taken apart into segments and scans.

A decoder gets the tables, frames and scans of the first picture and the two segments that say how its colours are
coded, JFIF and Adobe; EXIF, profiles, thumbnails, second pictures and videos behind the end are not for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from securesplit.errors import PhotoError
from securesplit.imaging.container import Colour, Container
from securesplit.imaging.jpeg_structure import RESTART, Component, Frame, Jpeg, Scan
from securesplit.imaging.orientation import find_orientation

START, END = b"\xff\xd8", b"\xff\xd9"
MAX_SCANS = 100  # a progressive photo has about 10; each one costs a pass over the whole picture
MAX_SCANNED_PIXELS = 2_000_000_000  # in all passes together, some 20 seconds
MAX_SEGMENTS = 10_000  # a photo has about 20, and one more for each 64 kB of metadata

_SOS, _EOI, _APP0, _APP1, _APP2, _ADOBE, _DRI, _SOI = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xDD, 0xD8
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CODINGS = {0xF7: "JPEG-LS"}  # ISO/IEC 14495-1, with a frame header of its own
_DECODING = frozenset({_APP0, _ADOBE, 0xC4, 0xCC, 0xDB, _DRI})  # with tables for Huffman, arithmetic, quantisation
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # within a scan, 00 and RST0 to RST7 are data
_PROFILE, _EXIF, _XMP = b"ICC_PROFILE\0", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_COEFFICIENT_BYTES = 2
_AGAIN = "copy the photo again from its source"


@dataclass
class _Parts:
    """What was found so far."""

    kept: list[bytes] = field(default_factory=lambda: [START])
    size: int = 2
    frame: Frame | None = None
    scans: list[Scan] = field(default_factory=list)
    interval: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    is_ended: bool = False
    profile: dict[int, bytes] = field(default_factory=dict)

    def keep(self, part: bytes) -> None:
        self.kept.append(part)
        self.size += len(part)


def read(content: bytes) -> tuple[Container, Jpeg]:
    """Take a JPEG apart.

    Raises:
        PhotoError: it is damaged, or of a kind that cannot be read, which is named.
    """
    parts = _walk(content)
    if parts.frame is None or not parts.scans:
        raise PhotoError("the JPEG is damaged or truncated (it has no picture)", hint=_AGAIN)
    _check_frame(parts.frame)
    if len(parts.scans) * parts.frame.width * parts.frame.height > MAX_SCANNED_PIXELS:
        raise PhotoError(
            "the JPEG has too many scans for its size", hint="save it as a baseline (not progressive) JPEG"
        )
    orientation = find_orientation(parts.exif, parts.xmp)
    stream, profile = b"".join([*parts.kept, END]), _profile(parts.profile)
    jpeg = Jpeg(stream, parts.frame, tuple(parts.scans), profile, orientation, parts.is_ended)
    container = Container(
        "JPEG",
        jpeg.stream,
        codec_bytes=_coefficient_bytes(jpeg),
        orientation=orientation,
        colour=Colour(icc=jpeg.profile),
    )
    return container, jpeg


def _walk(content: bytes) -> _Parts:
    """Segment by segment, to the end of the picture or of the file."""
    parts, at = _Parts(), len(START)
    for _ in range(MAX_SEGMENTS):
        match = _MARKER.search(content, at)
        if match is None:
            break
        marker, at = match[1][0], match.end()
        if marker == _EOI:
            parts.is_ended = True
            break
        if marker == 1:  # TEM stands alone
            continue
        size = int.from_bytes(content[at : at + 2], "big")
        if size < 2 or at + size > len(content) or marker == _SOI or 2 <= marker < min(_FRAMES):
            raise PhotoError("the JPEG is damaged or truncated (in a header)", hint=_AGAIN)
        at = _take(parts, content, marker, at, at + size)
    return parts


def _take(parts: _Parts, content: bytes, marker: int, at: int, end: int) -> int:
    """Put one segment where it belongs; returns where the next one begins."""
    body, segment = content[at + 2 : end], b"\xff" + bytes([marker]) + content[at:end]
    if marker in _CODINGS and parts.frame is None:
        raise PhotoError(
            f"a JPEG of {_CODINGS[marker]} coding cannot be read", hint="save it as an ordinary JPEG, or as a PNG"
        )
    if marker in _FRAMES:
        if parts.frame is not None:
            raise PhotoError("the JPEG is damaged (it has two frames)", hint=_AGAIN)
        parts.frame = _frame(parts.size, marker, body)
        parts.keep(segment)
    elif marker == _SOS:
        parts.keep(segment)
        return _take_scan(parts, content, body, end)
    elif marker in _DECODING:
        if marker == _DRI:
            parts.interval = int.from_bytes(body[:2], "big")
        parts.keep(segment)
    else:
        _take_metadata(parts, marker, body)
    return end


def _take_scan(parts: _Parts, content: bytes, header: bytes, start: int) -> int:
    match = _MARKER.search(content, start)
    end = len(content) if match is None else match.start()
    names = header[1 : -3 or None : 2]
    if len(header) != 4 + 2 * (header[0] if header else 0) or len(parts.scans) == MAX_SCANS:
        raise PhotoError("the JPEG is damaged (in the header of a scan, or of too many)", hint=_AGAIN)
    data = content[start:end].rstrip(b"\xff")  # what fills up to a marker
    if RESTART.fullmatch(data, max(0, len(data) - 2)):  # some cameras end the last interval like every other one
        data = data[:-2].rstrip(b"\xff")
    place = (parts.size, parts.size + len(data))
    parts.scans.append(Scan(tuple(names), (header[-3], header[-2]), header[-1] & 15, place, parts.interval))
    parts.keep(data)
    return end


def _take_metadata(parts: _Parts, marker: int, body: bytes) -> None:
    if marker == _APP1 and body.startswith(_EXIF):
        parts.exif = parts.exif or body
    elif marker == _APP1 and body.startswith(_XMP):
        parts.xmp = parts.xmp or body
    elif marker == _APP2 and body.startswith(_PROFILE) and len(body) > len(_PROFILE) + 2:
        parts.profile.setdefault(body[len(_PROFILE)], body[len(_PROFILE) + 2 :])


def _profile(chunks: dict[int, bytes]) -> bytes:
    """A profile's chunks in their order; nothing where one is missing."""
    whole = sorted(chunks) == list(range(1, len(chunks) + 1))
    return b"".join(chunks[number] for number in sorted(chunks)) if whole else b""


def _frame(start: int, marker: int, body: bytes) -> Frame:
    count = body[5] if len(body) > 5 else 0
    if len(body) != 6 + 3 * count:
        raise PhotoError("the JPEG is damaged (in its frame header)", hint=_AGAIN)
    components = [Component(body[i], body[i + 1] >> 4, body[i + 1] & 15) for i in range(6, len(body), 3)]
    if not components or any(not 1 <= factor <= 4 for c in components for factor in (c.across, c.down)):
        raise PhotoError("the JPEG is damaged (in its frame header)", hint=_AGAIN)
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return Frame(start, marker, body[0], width, height, tuple(components))


def _check_frame(frame: Frame) -> None:
    hint = "save it as an ordinary JPEG of 8 bits, or as a PNG"
    if frame.bits != 8:
        raise PhotoError(f"a JPEG with {frame.bits} bits a sample cannot be read, only one with 8", hint=hint)
    if frame.width == 0 or frame.height == 0:
        raise PhotoError("the JPEG is damaged (it announces no pixels)", hint=_AGAIN)
    if len(frame.components) not in {1, 3, 4}:
        raise PhotoError(f"a JPEG of {len(frame.components)} channels cannot be read", hint=hint)


def _coefficient_bytes(jpeg: Jpeg) -> int:
    """Where a picture comes in several scans, its decoder keeps all coefficients of all components."""
    if not jpeg.is_progressive and len(jpeg.scans) == 1:
        return 0
    sizes = (jpeg.frame.blocks(component) for component in jpeg.frame.components)
    return sum(across * down * 64 * _COEFFICIENT_BYTES for across, down in sizes)
