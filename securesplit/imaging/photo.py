"""Read a photo that may come from anywhere, without trusting it.

Invariants: nothing is decoded before its format and its announced size were checked, so a decompression bomb costs no
memory; a FIFO or device is never opened; what leaves this module is pixels only, so EXIF, GPS and thumbnails stay here.
The square is cut from the centre and scaled, never stretched, as the network was trained.
"""

from __future__ import annotations

import errno
import stat
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from securesplit.errors import PhotoError

MAX_FILE_BYTES = 64 * 2**20  # bytes; a 50-megapixel phone JPEG is about 20 MB
MAX_PIXELS = 120_000_000  # pixels; the largest phone sensors have 108 to 200 megapixels and bin them by default
MIN_SIDE = 32  # pixels; below this there is nothing to see
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")

_HINT_FORMATS = "use a JPEG, PNG, TIFF, BMP or WebP photo"


def load_photo(path: Path, side: int) -> NDArray[np.uint8]:
    """Read, turn upright, crop to the centre square and scale to `side`.

    Returns:
        ``(side, side, 3) uint8`` RGB.

    Raises:
        PhotoError: no such file, no permission, not a regular file, empty, not an image of a known format, truncated,
            or beyond `MAX_FILE_BYTES` / `MAX_PIXELS` / `MIN_SIDE`.
    """
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow warns of odd metadata; our own bounds are stricter than its bomb warning
            with Image.open(path, formats=FORMATS) as image:
                _check_size(image)
                image.draft("RGB", (2 * side, 2 * side))  # a JPEG decodes at 1/2, 1/4 or 1/8 scale where that suffices
                return to_square(_rgb(ImageOps.exif_transpose(image)), side)
    except UnidentifiedImageError:
        raise PhotoError("not an image of a known format", hint=_HINT_FORMATS) from None
    except PermissionError:
        raise PhotoError("no permission to read the file", hint="check the file's permissions") from None
    except Image.DecompressionBombError:
        raise PhotoError(_too_large(), hint="scale the photo down first") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's own, not Pillow's
            raise _unreachable(error) from None
        raise PhotoError(
            f"the image is damaged or truncated ({error})", hint="copy the photo again from its source"
        ) from None


def to_square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """The centre square of an RGB image, scaled with an antialiasing filter, ``(side, side, 3) uint8``."""
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box), np.uint8)


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise PhotoError("no such file", hint="check the path") from None
    except OSError as error:
        raise _unreachable(error) from None
    if stat.S_ISDIR(status.st_mode):
        raise PhotoError("this is a directory, not a photo", hint="name the photos in it, for example with a * pattern")
    if not stat.S_ISREG(status.st_mode):
        raise PhotoError("not a regular file", hint="save the photo to a file first")
    if status.st_size == 0:
        raise PhotoError("the file is empty", hint="copy the photo again from its source")
    if status.st_size > MAX_FILE_BYTES:
        raise PhotoError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB", hint="save it as a JPEG")


def _unreachable(error: OSError) -> PhotoError:
    reason = errno.errorcode.get(error.errno or 0, "OSError")
    hint = (
        "close other files, or ulimit -n 1024" if error.errno == errno.EMFILE else "check the path and its permissions"
    )
    return PhotoError(f"the file cannot be reached ({reason})", hint=hint)


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise PhotoError(_too_large(), hint="scale the photo down first")
    if min(image.size) < MIN_SIDE:
        raise PhotoError(f"the photo is smaller than {MIN_SIDE} pixels", hint="take the photo at full resolution")


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB; what is transparent becomes white, 16-bit grey is scaled rather than cut off."""
    if image.mode in {"I;16", "I;16B", "I;16L", "I"}:
        image = Image.fromarray((np.asarray(image, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _too_large() -> str:
    return f"the photo has more than {MAX_PIXELS // 1_000_000} megapixels"
