"""Photo files built by hand: chunks, segments and directories that no library would write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.imaging.synthetic import draw_lesion


def lesion(side: int = 120, seed: int = 3) -> Image.Image:
    return Image.fromarray(draw_lesion(seed, side))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(image: Image.Image, *chunks: bytes) -> bytes:
    """A PNG with `chunks` between its header and its pixels."""
    plain = saved(image, "PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(image: Image.Image, *segments: bytes, **options: Any) -> bytes:
    """A JPEG with `segments` after its first two bytes."""
    plain = saved(image, "JPEG", quality=95, **options)
    return plain[:2] + b"".join(segments) + plain[2:]


def webp_with(image: Image.Image, kind: bytes, body: bytes) -> bytes:
    """A lossless WebP with one more chunk at its end."""
    plain = saved(image, "WEBP", lossless=True)
    more = plain[12:] + kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(more)) + b"WEBP" + more


Entry = tuple[int, int, int, bytes]
"""Tag, type, count, and the bytes of its values."""


def directory(entries: Sequence[Entry], start: int, order: str = "<", following: int = 0) -> bytes:
    """An image file directory that stands at `start`, with its longer values behind it."""
    table, behind = b"", b""
    values_at = start + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        if len(value) <= 4:
            place = value.ljust(4, b"\0")
        else:
            place = struct.pack(order + "I", values_at + len(behind))
            behind += value
        table += struct.pack(order + "HHI", tag, kind, count) + place
    return struct.pack(order + "H", len(entries)) + table + struct.pack(order + "I", following) + behind


def exif(entries: Sequence[Entry], order: str = "<") -> bytes:
    """An EXIF block with one directory."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + mark + struct.pack(order + "I", 8) + directory(entries, 8, order)


def short(tag: int, *values: int, order: str = "<") -> Entry:
    return tag, 3, len(values), struct.pack(f"{order}{len(values)}H", *values)


def long(tag: int, *values: int) -> Entry:
    return tag, 4, len(values), struct.pack(f"<{len(values)}I", *values)


def tiff(pixels: NDArray[Any], *more: Entry, photometric: int = 1, pages: Sequence[Sequence[Entry]] = ()) -> bytes:
    """An uncompressed TIFF of one channel; its samples are those of the array's dtype.

    Args:
        pixels: ``(h, w)``.
        more: further tags of the page.
        photometric: 1 where 0 is black, 0 where 0 is white.
        pages: directories that come before the one with the pixels.
    """
    formats = {"u": 1, "i": 2, "f": 3}
    height, width = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    entries = [
        *(long(256, width), long(257, height), short(258, 8 * pixels.dtype.itemsize), short(259, 1)),
        *(short(262, photometric), long(273, 8), short(277, 1), long(278, height), long(279, len(data))),
        *([short(339, formats[pixels.dtype.kind])] if pixels.dtype.kind != "u" else []),
        *more,
    ]
    content = data + b"\0" * (len(data) % 2)
    first = 8 + len(content)
    for page in pages:
        size = len(directory(page, 0))
        content += directory(page, 8 + len(content), following=8 + len(content) + size)
    content += directory(sorted(entries), 8 + len(content))
    return b"II*\0" + struct.pack("<I", first) + content


def grey(side: int = 120) -> NDArray[np.uint8]:
    return np.asarray(lesion(side).convert("L"))
