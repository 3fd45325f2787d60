"""Read a photo that may come from anywhere, without trusting it.

Invariants: nothing is decoded before its format, its announced size and the memory that it needs were checked, so a
decompression bomb costs no memory; a FIFO or device is never waited for; a decoder gets pixels only, so EXIF, GPS and
thumbnails reach neither it nor the head; whatever a decoder raises is a PhotoError of that photo.
The square is cut out and scaled, never stretched, as the network was trained.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from securesplit.errors import PhotoError
from securesplit.imaging import bmp, dicom, formats, heif, integrity, isolated, jpeg, png, tiff, webp
from securesplit.imaging.container import Container, Samples
from securesplit.imaging.dicom import Dicom
from securesplit.imaging.jpeg_structure import Jpeg
from securesplit.imaging.lesion import Place, centre_square, choose_square
from securesplit.imaging.memory import MAX_DECODED_BYTES, check_memory, check_size, too_large
from securesplit.imaging.photo_source import PhotoSource, check_array, read_source
from securesplit.imaging.pillow_image import facts_of
from securesplit.imaging.pixels import to_upright_rgb
from securesplit.results import Crop, Framing
from securesplit.text import one_line

_AGAIN = "copy the photo again from its source"
_MORE_MEMORY = "close other programs, or scale the photo down first"
_READERS = {"PNG": png.read, "TIFF": tiff.read, "BMP": bmp.read, "WEBP": webp.read}


@dataclass(frozen=True, eq=False)
class Square:
    """The square of a photo that a network sees.

    Attributes:
        pixels: scaled, ``(side, side, 3) uint8`` RGB.
        edge: how many pixels it had before, along an edge; of a large photo that was read at a smaller scale, those
            that were read, which are at least twice `side` where the square is not a part of the centre one.
        crop: where it lies in the photo.
        whole: as `pixels`, of the photo's whole centre square; the same array where they show as much.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    edge: int
    crop: Crop
    whole: NDArray[np.uint8] = field(repr=False)


_FINER = 2
"""Times as many pixels as otherwise are kept of a large photo, of which a square around a lesion shows a part."""


def load_photo(photo: PhotoSource, side: int, framing: Framing = "centre square") -> NDArray[np.uint8]:
    """As a network learns a photo: as `load_square`, but no centre square is slid; raises the same errors."""
    with _refusing():
        image, is_reduced = _load(photo, _read_for(side, framing))
        place = centre_square(image) if framing == "centre square" else choose_square(image, framing, side)
        return _scaled(image, place, side, is_reduced=is_reduced)


def load_square(photo: PhotoSource, side: int, framing: Framing = "centre square") -> Square:
    """Read, turn upright, convert to sRGB, cut out the square that a network is to see, and scale it to `side`.

    Args:
        photo: a path, a binary file object, a PIL image, or an array ``(h, w, 3) uint8`` of upright sRGB pixels.
        side: pixels.
        framing: which square (`securesplit.imaging.lesion`).

    Raises:
        PhotoError: no such file, no permission, not a regular file, empty, not an image of a known format, damaged,
            of samples that may mean anything, or beyond `MAX_FILE_BYTES`, `MAX_PIXELS`, `MAX_DECODED_BYTES` or
            `MIN_SIDE`; or `photo` is of another kind.
    """
    with _refusing():
        image, is_reduced = _load(photo, _read_for(side, framing))
        place, centre = choose_square(image, framing, side), centre_square(image)
        pixels = _scaled(image, place, side, is_reduced=is_reduced)
        is_closer = place.edge < centre.edge
        whole = _scaled(image, centre, side, is_reduced=is_reduced) if is_closer else pixels
        return Square(pixels, place.edge, place.within(image), whole)


def load_whole(photo: PhotoSource, side: int, longest: int) -> NDArray[np.uint8]:
    """The whole photo, upright and in sRGB, for people to see.

    Args:
        photo: the same sources as of `load_square`, which raises the same errors.
        side: as of `load_square`, so that it is read at the same scale.
        longest: pixels, of its longer edge at most.

    Returns:
        ``(h, w, 3) uint8``.
    """
    with _refusing():
        image, _is_reduced = _load(photo, side)
        scale = min(1.0, longest / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.uint8)


def _read_for(side: int, framing: Framing) -> int:
    return side if framing == "centre square" else _FINER * side


def _scaled(image: Image.Image, place: Place, side: int, *, is_reduced: bool) -> NDArray[np.uint8]:
    """A square of an image; that of a reduced one ends where it ends, as if nothing lay beside it."""
    whole, box = (image.crop(place.box), None) if is_reduced else (image, place.box)
    return np.asarray(whole.resize((side, side), Image.Resampling.BICUBIC, box=box), np.uint8)


def _load(photo: PhotoSource, side: int) -> tuple[Image.Image, bool]:
    """An upright RGB image, and whether it was reduced."""
    if isinstance(photo, np.ndarray):
        image = Image.fromarray(check_array(photo))
        check_size(image.size)
        return image, False
    if isinstance(photo, Image.Image):
        check_size(photo.size)
        photo.load()
        return to_upright_rgb(photo, facts_of(photo), side)
    return _read_file(read_source(photo), side)


def _read_file(content: bytes, side: int) -> tuple[Image.Image, bool]:
    kind = formats.identify(content)
    if kind == "JPEG":
        image, container = _read_jpeg(content, side)
    elif kind == "DICOM":
        isolated.check_available(kind)
        photo = isolated.read_dicom(content, MAX_DECODED_BYTES)
        del content
        image, container = _read_dicom(photo, side)
    elif kind == "HEIF":
        container = heif.read(content)
        del content
        image, container = _decode_alone(container)
    else:
        container = _READERS[kind](content)
        del content
        image = _decode(container, side)
        _check_data(image, container, side)
    return to_upright_rgb(image, container, side)


def _read_jpeg(content: bytes, side: int) -> tuple[Image.Image, Container]:
    container, taken_apart = jpeg.read(content)
    return _decode_jpeg(container, taken_apart, side), container


def _read_dicom(photo: Dicom, side: int) -> tuple[Image.Image, Container]:
    """Neither an orientation nor a profile within a packed picture counts, but what the DICOM file says."""
    container = Container("DICOM", b"", colour=photo.colour, samples=photo.scale)
    check_memory(photo.size, "RGB", container)
    if photo.syntax in dicom.JPEG:
        image, inner = _read_jpeg(dicom.as_jpeg(photo), side)
        colour = photo.colour if photo.colour.icc else inner.colour
        return dicom.inverted(photo, image), replace(container, colour=colour, samples=Samples())
    if photo.syntax in dicom.JPEG_2000:
        isolated.check_available("JPEG2000")
        decoded = isolated.decode("JPEG2000", photo.pixels, photo.size[0] * photo.size[1])
        return dicom.from_jpeg_2000(photo, decoded.image), replace(container, samples=Samples())
    return dicom.to_image(photo), container


def _check_data(image: Image.Image, container: Container, side: int) -> None:
    if container.format == "PNG":
        integrity.check_png(image, container.stream)
    integrity.check_parts(container.parts, _wanted(side))
    integrity.check_blank_end(image, container)


def _decode_jpeg(container: Container, taken_apart: Jpeg, side: int) -> Image.Image:
    if taken_apart.is_dct:
        integrity.check_jpeg_structure(taken_apart)
    image, fits = _decode_watched(container, taken_apart, side)
    try:
        image = image or _decode(container, side)
    except (OSError, SyntaxError):  # it depends on Pillow's build
        if not taken_apart.coding:
            raise
        raise PhotoError(
            f"a JPEG of {taken_apart.coding} coding cannot be read", hint="save it as an ordinary JPEG, or as a PNG"
        ) from None
    if taken_apart.is_dct and not fits:
        integrity.check_jpeg_data(taken_apart, image, _wanted(side))
    return image


def _decode_watched(container: Container, taken_apart: Jpeg, side: int) -> tuple[Image.Image | None, bool]:
    """A JPEG, and whether its data was seen to fit its picture; None where it ended too early, or cannot be watched."""
    if not taken_apart.is_one_run:
        return None, False
    watched = integrity.WatchedJpeg(taken_apart)
    try:
        return _decode(container, side, watched), watched.fits
    except OSError:
        return None, False


def _decode(container: Container, side: int, stream: BinaryIO | None = None) -> Image.Image:
    """Decode a container, or a stream in the place of its own."""
    image = _open(container, io.BytesIO(container.stream) if stream is None else stream)
    check_size(image.size)
    image.draft("RGB", _wanted(side))
    check_memory(image.size, image.mode, container)
    try:
        image.load()
    except ValueError:  # Pillow knows the mode, and no way to it from what the file holds
        if not container.kind:
            raise
        raise _unreadable(container) from None
    return image


def _decode_alone(container: Container) -> tuple[Image.Image, Container]:
    """By a decoder in a process of its own, which also says how the picture is to be turned."""
    isolated.check_available(container.format)
    check_size(container.size)
    check_memory(container.size, "RGBA", container)
    decoded = isolated.decode(container.format, container.stream, container.size[0] * container.size[1])
    check_size(decoded.image.size)
    return decoded.image, replace(container, orientation=decoded.orientation)


def _open(container: Container, stream: BinaryIO) -> Image.Image:
    try:
        return Image.open(stream, formats=[container.format])
    except UnidentifiedImageError:
        raise _unreadable(container) from None


def _unreadable(container: Container) -> PhotoError:
    if container.kind:
        return PhotoError(f"a {container.kind} cannot be read", hint="save it as a JPEG or PNG")
    return PhotoError(f"the {container.format} is damaged (in a header)", hint=_AGAIN)


def _wanted(side: int) -> tuple[int, int]:
    """A JPEG decodes at 1/2, 1/4 or 1/8 scale where that suffices."""
    return 2 * side, 2 * side


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Whatever befalls a photo is a PhotoError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own bounds are stricter than Pillow's warning of bombs
            yield
    except PhotoError:
        raise
    except Image.DecompressionBombError:
        raise too_large() from None
    except MemoryError:
        raise PhotoError("reading this photo takes more memory than there is", hint=_MORE_MEMORY) from None
    except Exception as error:  # noqa: BLE001  (decoders raise whatever they come upon)
        reason = one_line(str(error)[:200])
        raise PhotoError(
            f"the image is damaged or truncated ({reason or type(error).__name__})",
            hint=_AGAIN,
        ) from None
