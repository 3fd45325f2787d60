"""Damage that a decoder passes over in silence: what it has no data for becomes grey or black, and looks like a photo.

Nothing here guesses from how a picture looks. A JPEG's decoder is watched, or asked, whether it wanted more data than
there is, and whether there is more data than it wanted; an uncompressed file that ends in zeros is one whose copy was
not finished.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops

from securesplit.errors import PhotoError
from securesplit.imaging import jpeg, png
from securesplit.imaging.container import Container
from securesplit.imaging.jpeg_structure import Jpeg, missing, missing_restarts

_PROBE = bytes(range(1, 255)) * 2  # changes every picture whose decoder reads it; FF would be a marker
MAX_PROBES_BYTES = 16 * 2**20  # of all probes together, but for the least of each
_LEAST_PROBE_BYTES = 64  # a file may have two million restart markers
_LEFT_OUT_BYTES = 8  # zeros that an arithmetic coder leaves out at the end of data; two or three in practice
_STRAY_MCUS = {False: 1, True: 8}
"""At the end of a picture, sequential or progressive: the bits that fill its last byte may begin another MCU, and in a
progressive one each of them refines a block."""
_BLEEDING = 2  # rows into which upsampling spreads the colours of the last row
_MAX_SIDE = 65_500  # pixels, of libjpeg
_GREY = 128  # what a block without data becomes
_MIN_BLANK = 0.05  # of the rows
_MIN_HOLE_BYTES = 512  # a sector
_MIN_ARITHMETIC_HOLE_BYTES = 64  # of a JPEG, whose coder leaves out the zeros at the end
_AHEAD_BYTES = 7  # that libjpeg reads ahead of the bits that it needs, to fill a register of 64
_LONG_CODES = b"\xfe" * 2 * _AHEAD_BYTES  # the most bits for the fewest coefficients; FF would be a marker
_AGAIN = "copy the photo again from its source, or take it again"


class WatchedJpeg(io.BytesIO):
    """A JPEG of one run of data, for a decoder that takes it piece by piece and asks for more when it needs more.

    Its end is not there, but other data, so a decoder that lacks some asks for that instead of making up grey blocks.
    The last byte, and each of the other data, is a piece of its own; so afterwards it is known how far it came.

    Args:
        photo: `Jpeg.is_one_run`.
    """

    def __init__(self, photo: Jpeg) -> None:
        _, self._end = photo.scans[0].data
        super().__init__(photo.stream[: self._end] + _LONG_CODES)

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece, at most `size` bytes."""
        left = max(1, self._end - 1 - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))

    @property
    def fits(self) -> bool:
        """Whether the picture took all of its data, and no more, as far as reading ahead lets that be known."""
        return self._end <= self.tell() <= self._end + _AHEAD_BYTES


def check_jpeg_structure(photo: Jpeg) -> None:
    """Refuse a JPEG that lacks scans or restart intervals; nothing is decoded.

    Raises:
        PhotoError: what is missing.
    """
    if len(photo.scans) > 1 or photo.is_progressive:
        if lack := missing(photo):
            raise PhotoError(f"the JPEG is damaged or truncated ({lack})", hint=_AGAIN)
    elif {c.id for c in photo.frame.components} != set(photo.scans[0].components):
        raise PhotoError("the JPEG is damaged or truncated (a colour is missing)", hint=_AGAIN)
    if any(missing_restarts(photo, scan) for scan in photo.scans):
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
    if not _is_complete(photo, decoded, wanted):
        raise PhotoError("the JPEG is damaged or truncated (its data ends before the picture does)", hint=_AGAIN)
    if photo.is_arithmetic:
        check_no_hole(b"\xff".join(photo.data), _MIN_ARITHMETIC_HOLE_BYTES)
    elif _has_more(photo, wanted) and not _is_padded(photo, decoded, wanted):
        raise PhotoError("the JPEG is damaged (its data does not fit the picture)", hint=_AGAIN)


def check_png(image: Image.Image, stream: bytes) -> None:
    """Refuse a PNG whose data is a whole zlib stream of too few rows, or names colours that its palette lacks.

    Raises:
        PhotoError: it is.
    """
    if png.lacks_rows(stream):
        raise PhotoError("the PNG is damaged or truncated (rows are missing)", hint=_AGAIN)
    if image.mode == "P" and np.asarray(image.getextrema()).max() >= png.colours(stream):
        raise PhotoError("the PNG is damaged (colours are missing)", hint=_AGAIN)


def check_parts(parts: Sequence[bytes], wanted: tuple[int, int]) -> None:
    """Refuse a TIFF one of whose strips or tiles is a damaged JPEG.

    Raises:
        PhotoError: what befell it.
    """
    for part in parts:
        _, photo = jpeg.read(part)
        check_jpeg_structure(photo)
        check_jpeg_data(photo, _decode(photo.stream, wanted), wanted)


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


def check_no_hole(stream: bytes, shortest: int = _MIN_HOLE_BYTES) -> None:
    """Refuse compressed data with a long run of zeros, as a file has where a copy was not finished.

    Args:
        stream: of an arithmetic coder, or of lossless WebP; both pack even an empty picture into less.
        shortest: how many zeros are a hole, bytes.

    Raises:
        PhotoError: it has one.
    """
    if bytes(shortest) in stream:
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


def _is_complete(photo: Jpeg, decoded: Image.Image, wanted: tuple[int, int]) -> bool:
    """Whether the picture stays the same when more data follows that of each scan."""
    left_out = bytes(_LEFT_OUT_BYTES) if photo.is_arithmetic else b""
    probed = _decode(photo.with_data_after_scans(left_out + probe(photo)), wanted)
    return ImageChops.difference(decoded, probed).getbbox() is None


def probe(photo: Jpeg) -> bytes:
    """What follows each scan and restart interval; of a photo of very many it is shorter."""
    places = len(photo.scans) + sum(len(photo.restarts(scan)) for scan in photo.scans)
    return _PROBE[: max(_LEAST_PROBE_BYTES, MAX_PROBES_BYTES // places)]


def _is_padded(photo: Jpeg, decoded: Image.Image, wanted: tuple[int, int]) -> bool:
    """Whether what is left over are zeros that the picture does not need."""
    trimmed = photo.without_padding()
    return _is_complete(trimmed, decoded, wanted) and not _has_more(trimmed, wanted)


def _has_more(photo: Jpeg, wanted: tuple[int, int]) -> bool:
    """Whether a decoder that expects one more row of MCUs finds data for it."""
    frame = photo.frame
    rows = -(-frame.height // frame.mcu_rows)
    taller = (rows + 1) * frame.mcu_rows
    if taller > _MAX_SIDE:
        return False
    image = _decode(photo.with_height(taller), wanted if photo.is_progressive else (1, 1))  # at (1, 1), a pixel a block
    first = rows * frame.mcu_rows * image.height // taller + (_BLEEDING if photo.is_progressive else 0)
    stray = _STRAY_MCUS[photo.is_progressive] * 8 * max(c.across for c in frame.components) * image.width // frame.width
    extra = np.asarray(image.crop((min(stray, image.width), first, image.width, image.height)))
    return bool((np.abs(extra.astype(np.int16) - _GREY) > 1).any())  # inks are inverted, so 127
