"""Damage that a decoder passes over in silence: what it has no data for becomes grey or black, and looks like a photo.

Nothing here guesses from how a picture looks. A JPEG's decoder is asked whether it wanted more data than there is, and
whether there is more data than it wanted; an uncompressed file that ends in zeros is one whose copy was not finished.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageChops

from securesplit.errors import PhotoError
from securesplit.imaging import jpeg
from securesplit.imaging.container import Container
from securesplit.imaging.jpeg import Jpeg

_PROBE = bytes(range(1, 255)) * 2  # changes every picture whose decoder reads it; FF would be a marker
_STRAY_MCUS = 1  # at the end of a picture: the bits that fill its last byte may begin another one
_GREY = 128  # what a block without data becomes
_MIN_BLANK = 0.05  # of the rows
_MIN_HOLE_BYTES = 512  # a sector
_AGAIN = "copy the photo again from its source, or take it again"


def check_jpeg_structure(photo: Jpeg) -> None:
    """Refuse a JPEG that lacks scans or restart intervals; nothing is decoded.

    Raises:
        PhotoError: what is missing.
    """
    if len(photo.scans) > 1 or photo.is_progressive:
        if lack := jpeg.missing(photo):
            raise PhotoError(f"the JPEG is damaged or truncated ({lack})", hint=_AGAIN)
    elif {c.id for c in photo.frame.components} != set(photo.scans[0].components):
        raise PhotoError("the JPEG is damaged or truncated (a colour is missing)", hint=_AGAIN)
    if any(jpeg.missing_restarts(photo, scan) for scan in photo.scans):
        raise PhotoError("the JPEG is damaged or truncated (a part of it is missing)", hint=_AGAIN)


def check_jpeg_data(photo: Jpeg, decoded: Image.Image, wanted: tuple[int, int]) -> None:
    """Refuse a JPEG whose data ends before its picture does, or goes on behind it.

    Args:
        photo: taken apart.
        decoded: by Pillow, at the scale that ``draft("RGB", wanted)`` gave.
        wanted: the size that was asked for.

    Raises:
        PhotoError: the data does not fit the picture.
    """
    probed = _decode(photo.with_data_after_scans(_PROBE), wanted)
    if ImageChops.difference(decoded, probed).getbbox() is not None:
        raise PhotoError("the JPEG is damaged or truncated (its data ends before the picture does)", hint=_AGAIN)
    if photo.is_sequential and _has_more(photo):
        raise PhotoError("the JPEG is damaged (its data does not fit the picture)", hint=_AGAIN)


def check_blank_end(image: Image.Image, container: Container) -> None:
    """Refuse an uncompressed picture that ends in zeros, or in ones, from the midst of a row on.

    A black bar begins with a row, and a black corner is at both ends of one. A blank that begins anywhere else is that
    of a file that was made as long as the photo before its content came, or of a card that was erased.

    Raises:
        PhotoError: it does.
    """
    if not container.is_uncompressed:
        return
    order = range(image.height) if container.is_bottom_up else range(image.height - 1, -1, -1)
    blank = next((i for i, row in enumerate(order) if not _is_blank(image, row)), image.height)
    if not _MIN_BLANK * image.height <= blank < image.height:
        return
    ends = [image.getpixel((x, order[blank])) for x in (0, image.width - 1)]
    if ends[0] != ends[1] == image.getpixel((0, order[0])):
        raise PhotoError(f"the photo is damaged ({blank} of its {image.height} rows are blank)", hint=_AGAIN)


def check_no_hole(stream: bytes) -> None:
    """Refuse compressed data with a long run of zeros, as a file has where a copy was not finished.

    Args:
        stream: lossy WebP, whose arithmetic coder packs even an empty picture into less.

    Raises:
        PhotoError: it has one.
    """
    if bytes(_MIN_HOLE_BYTES) in stream:
        raise PhotoError("the photo is damaged (a part of the file is blank)", hint=_AGAIN)


def _is_blank(image: Image.Image, row: int) -> bool:
    samples = np.asarray(image.crop((0, row, image.width, row + 1)))
    first = samples.flat[0]
    return bool(first in {0, 2**8 - 1, 2**16 - 1} and (samples == first).all())


def _decode(stream: bytes, wanted: tuple[int, int]) -> Image.Image:
    image = Image.open(io.BytesIO(stream), formats=["JPEG"])
    image.draft("RGB", wanted)
    image.load()
    return image


def _has_more(photo: Jpeg) -> bool:
    """Whether a decoder that expects one more row of MCUs finds data for it."""
    frame = photo.frame
    rows = -(-frame.height // frame.mcu_rows)
    taller = (rows + 1) * frame.mcu_rows
    if taller >= 2**16:
        return False
    image = _decode(photo.with_height(taller), (1, 1))  # one pixel a block
    first = rows * frame.mcu_rows * image.height // taller
    stray = _STRAY_MCUS * max(c.across for c in frame.components)
    extra = np.asarray(image.crop((min(stray, image.width), first, image.width, image.height)))
    return image.mode in {"RGB", "L"} and bool((extra != _GREY).any())
