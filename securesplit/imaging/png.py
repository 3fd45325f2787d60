"""PNG (third edition, W3C 2025) taken apart into chunks.

A decoder gets the chunks that hold pixels and no others: text, EXIF, profiles and animation frames are not for it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

from securesplit.errors import PhotoError
from securesplit.imaging.container import Colour, Container, Samples
from securesplit.imaging.deflate import inflate, inflated_bytes
from securesplit.imaging.orientation import find_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 200_000  # of 8 kB, as most programs write them, the largest file has 8,000

_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_CHANNELS = {2: 3, 4: 2, 6: 4}  # by colour type; of the others, one
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of each pass, its first column and row, and the steps to the next ones."""
_AGAIN = "copy the photo again from its source"
XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_XMP_KEYWORD = b"Raw profile type xmp"  # ImageMagick's
EXIF_KEYWORDS = (b"Raw profile type exif", b"Raw profile type APP1")  # ImageMagick's, from before eXIf


def read(content: bytes) -> Container:
    """Take a PNG apart.

    Raises:
        PhotoError: it is not a plain PNG, or a chunk with pixels is damaged.
    """
    kept = [SIGNATURE]
    metadata: dict[bytes, bytes] = {}
    for kind, start, end in _chunks(content):
        body = content[start + 8 : end - 4]
        is_whole = end <= len(content) and zlib.crc32(content[start + 4 : end - 4]) == _crc(content, end)
        if kind == b"CgBI":
            raise PhotoError("a PNG in Apple's own variant, as apps hold them", hint="save it as a plain PNG or a JPEG")
        if kind in _PIXELS and not is_whole:
            raise PhotoError(f"the PNG is damaged or truncated (in {kind.decode()})", hint=_AGAIN)
        if kind in _PIXELS:
            kept.append(content[start:end])
        elif is_whole:
            metadata.setdefault(_key(kind, body), body)
    if kept[-1][4:8] != b"IEND":
        kept.append(struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")))
    return Container(
        "PNG",
        b"".join(kept),
        orientation=_orientation(metadata),
        colour=_colour(metadata),
        samples=_samples(content),
    )


def lacks_rows(stream: bytes) -> bool:
    """Whether the pixels of a PNG inflate to fewer bytes than its rows take."""
    width, height, bits, colour, _, _, interlacing = struct.unpack_from(">IIBBBBB", stream, len(SIGNATURE) + 8)
    passes = _ADAM7 if interlacing else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes)
    bits *= _CHANNELS.get(colour, 1)
    wanted: int = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
    data = (stream[at + 8 : end - 4] for kind, at, end in _chunks(stream) if kind == b"IDAT")
    return inflated_bytes(data, wanted) < wanted


def colours(stream: bytes) -> int:
    """How many colours the palette has."""
    return next(((end - at - 12) // 3 for kind, at, end in _chunks(stream) if kind == b"PLTE"), 0)


def _samples(content: bytes) -> Samples:
    """PNG's numbers always use their whole range; programs that do not know this write 12 bits as they are."""
    bits = content[24] if len(content) > 24 else 8
    return Samples(bits, 0, 2**bits - 1, is_assumed=True)


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each chunk, up to IEND or to what is no chunk."""
    at, kind = len(SIGNATURE), b""
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(content) or kind == b"IEND":
            return
        kind = content[at + 4 : at + 8]
        if not kind.isalpha():
            return
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        yield kind, at, end
        at = end


def _crc(content: bytes, end: int) -> int:
    return int.from_bytes(content[end - 4 : end], "big")


def _key(kind: bytes, body: bytes) -> bytes:
    """A text chunk is known by its keyword, any other by its type."""
    return body.split(b"\0", 1)[0] if kind in {b"tEXt", b"zTXt", b"iTXt"} else kind


def _orientation(metadata: Mapping[bytes, bytes]) -> int:
    exif = metadata.get(b"eXIf", b"")
    for keyword in EXIF_KEYWORDS:
        exif = exif or profile_in(_text(metadata.get(keyword, b"")))
    xmp = _text(metadata.get(XMP_KEYWORD, b"")) or profile_in(_text(metadata.get(RAW_XMP_KEYWORD, b"")))
    return find_orientation(exif, xmp)


def profile_in(text: bytes) -> bytes:
    """EXIF or XMP in ImageMagick's form: a name and a length, a line each, then hexadecimal digits; else nothing."""
    lines = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(lines[-1].decode("ascii"))
    except ValueError:
        return b""


def _text(body: bytes) -> bytes:
    """The text of a tEXt, zTXt or iTXt chunk; the keyword tells which is meant, so what inflates is inflated."""
    text = body.partition(b"\0")[2]
    if body.startswith(XMP_KEYWORD):  # iTXt: is compressed, method, language, translated keyword
        is_compressed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
        return inflate(text) if is_compressed else text
    return inflate(text[1:]) if text[:1] == b"\0" else text


def _colour(metadata: Mapping[bytes, bytes]) -> Colour:
    """The chunk that counts (section 4.3): cICP, iCCP, sRGB, then gAMA with cHRM."""
    cicp = metadata.get(b"cICP", b"")
    if len(cicp) == 4 and cicp[2:] == b"\0\1":
        return Colour(cicp=(cicp[0], cicp[1]))
    if profile := inflate(metadata.get(b"iCCP", b"").partition(b"\0")[2][1:]):
        return Colour(icc=profile)
    if b"sRGB" in metadata:
        return Colour()
    gamma = int.from_bytes(metadata.get(b"gAMA", b"")[:4], "big") / 100_000
    corners = metadata.get(b"cHRM", b"")
    known = tuple(value / 100_000 for value in struct.unpack(">8I", corners)) if len(corners) == 32 else None
    return Colour(gamma=gamma or None, chromaticities=known)
