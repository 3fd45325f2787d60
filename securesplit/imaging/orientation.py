"""Which way up a photo is: the one tag that is read from its metadata.

EXIF decides, and XMP where EXIF has no such tag, as in Pillow; browsers know no XMP, and Chromium no EXIF of WebP. EXIF
is read here, tag by tag and within bounds, so that nothing else in it, however odd, can end the reading of a photo.
"""

from __future__ import annotations

import re

from PIL import Image

from securesplit.imaging import ifd

UPRIGHT = 1
ORIENTATION_TAG = 0x0112
_XMP = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([0-9])""")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def find_orientation(exif: bytes, xmp: bytes) -> int:
    """1 to 8 as EXIF numbers them (CIPA DC-008, 4.6.5.1); `UPRIGHT` where neither block says."""
    found = _from_exif(exif)
    if found is None and (match := _XMP.search(xmp)):
        found = int(match[1])
    return found if found in _TURNS else UPRIGHT


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image as it was seen."""
    method = _TURNS.get(orientation)
    return image if method is None else image.transpose(method)


def _from_exif(exif: bytes) -> int | None:
    exif = exif.removeprefix(b"Exif\0\0")
    header = ifd.read_header(exif)
    if header is None:
        return None
    directory = ifd.read_directory(exif, header, header.first)
    if ORIENTATION_TAG not in directory.entries:
        return None
    found = ifd.values(exif, header, directory, ORIENTATION_TAG)
    return int(found[0]) if len(found) == 1 and 0 <= found[0] <= max(_TURNS) else UPRIGHT
