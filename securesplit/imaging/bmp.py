"""BMP: nothing but the embedded profile of a BITMAPV5HEADER is looked at beside the pixels."""

from __future__ import annotations

import struct

from securesplit.errors import PhotoError
from securesplit.imaging.container import Colour, Container

_CORE_BYTES, _V5_BYTES = 12, 124  # of the headers of OS/2 and Windows 98
_UNCOMPRESSED = (0, 3)  # BI_RGB, BI_BITFIELDS
_RUN_LENGTHS = (1, 2)  # BI_RLE8, BI_RLE4
MAX_RUN_LENGTHS_BYTES = 16 * 2**20  # Pillow's decoder is Python, and takes 0.6 s for each MB of empty runs


def read(content: bytes) -> Container:
    """Take a BMP apart.

    Raises:
        PhotoError: it is packed by run lengths, and would take too long to decode.
    """
    if len(content) < 14 + 40:  # file header and BITMAPINFOHEADER
        return Container("BMP", content)
    height, compression = struct.unpack_from("<i", content, 22)[0], struct.unpack_from("<I", content, 30)[0]
    if struct.unpack_from("<I", content, 14)[0] == _CORE_BYTES:  # has neither a sign nor compression
        height, compression = 1, 0
    if compression in _RUN_LENGTHS and len(content) > MAX_RUN_LENGTHS_BYTES:
        raise PhotoError(
            f"a BMP packed by run lengths is larger than {MAX_RUN_LENGTHS_BYTES // 2**20} MiB",
            hint="save it as a JPEG or PNG",
        )
    return Container(
        "BMP",
        content,
        colour=Colour(icc=_profile(content)),
        is_uncompressed=compression in _UNCOMPRESSED,
        is_bottom_up=height > 0,
    )


def _profile(content: bytes) -> bytes:
    if content[14:18] != struct.pack("<I", _V5_BYTES) or content[70:74] != b"DEBM":  # PROFILE_EMBEDDED, little-endian
        return b""
    offset, size = struct.unpack_from("<II", content, 14 + 112) if len(content) >= 14 + _V5_BYTES else (0, 0)
    return content[14 + offset : 14 + offset + size]
