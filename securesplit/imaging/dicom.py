"""DICOM photos (PS3.3, VL Photographic Image and Dermoscopic Photography): from what tags say of the pixels to RGB.

The file itself is read in a process of its own, which answers with tags of the pixels, a colour profile, a palette and
the pixels (`securesplit.imaging.isolated`); no other tag comes into this process. Samples are unsigned integers of 8 to
16 bits; what else a file may say of them is refused by its name. JPEGs in it go the way of other JPEGs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.errors import PhotoError
from securesplit.i18n import gettext_noop
from securesplit.imaging.container import Colour, Samples
from securesplit.text import one_line, pip_install

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography",
}
JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})

_MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})
_CONVERTED = frozenset({"YBR_RCT", "YBR_ICT"})  # JPEG 2000's own, which its decoder undoes
_YBR = frozenset({"YBR_FULL", "YBR_FULL_422"})
_PALETTE = "PALETTE COLOR"
_KNOWN = frozenset({"RGB", _PALETTE}) | _MONOCHROME | _CONVERTED | _YBR
_EXPORT = "export the photo as a JPEG or PNG from the program that shows it"
_AGAIN = "copy the file again from its source"
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"  # then 0 for RGB, 1 for YCbCr


@dataclass(frozen=True)
class Dicom:
    """What a file says of its pixels.

    Attributes:
        photometric: PhotometricInterpretation.
        samples: of a pixel, 1 or 3.
        size: width and height.
        allocated: bits of a sample in the file.
        stored: bits of a sample that count, the lowest ones.
        is_planar: each colour in a plane of its own.
        is_little_endian: the order of bytes.
        syntax: transfer syntax.
        palette: of red, green and blue: number of entries, first number, bits; empty without one.
        tables: their entries.
        pixels: one frame.
        colour: its profile.
    """

    photometric: str
    samples: int
    size: tuple[int, int]
    allocated: int
    stored: int
    is_planar: bool
    is_little_endian: bool
    syntax: str
    palette: tuple[tuple[int, int, int], ...]
    tables: tuple[bytes, ...]
    pixels: bytes
    colour: Colour

    @property
    def scale(self) -> Samples:
        """What the samples of a grey picture mean."""
        return Samples(self.stored, 0, 2**self.stored - 1)


def check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse what is not a photo that is read, by what its tags say.

    Raises:
        PhotoError: what it is instead.
    """
    if facts["sop"] not in SOP_CLASSES:
        raise PhotoError(
            f"a DICOM object of another kind ({_name(facts['sop_name'])}), not a photo of skin",
            hint=f"{' and '.join(SOP_CLASSES.values())} are read; {_EXPORT}",
        )
    if not isinstance(facts["frames"], int | None):
        raise _damaged(gettext_noop("its tags contradict each other"))
    if facts["frames"] not in (None, 1):
        raise PhotoError(
            f"a DICOM file of {facts['frames']} frames", hint="export the one that you mean, as a JPEG or PNG"
        )
    if facts["photometric"] not in _KNOWN:
        raise PhotoError(f"a DICOM file of colours {_name(facts['photometric'])} cannot be read", hint=_EXPORT)
    numbers = [facts[name] for name in ("samples", "rows", "columns", "allocated", "stored", "high_bit")]
    if any(not isinstance(number, int) or number < 1 for number in numbers):
        raise _damaged(gettext_noop("a tag of its pixels is missing"))
    channels = 1 if facts["photometric"] in _MONOCHROME | {_PALETTE} else 3
    if facts["samples"] != channels:
        raise _damaged(gettext_noop("its tags contradict each other"))
    if facts["allocated"] not in (8, 16) or facts["signed"] or facts["high_bit"] != facts["stored"] - 1:
        sign = "signed " if facts["signed"] else ""
        raise PhotoError(f"a DICOM file of {sign}{facts['stored']}-bit samples cannot be read", hint=_EXPORT)
    if not 8 <= facts["stored"] <= facts["allocated"]:
        raise PhotoError(f"a DICOM file of {facts['stored']}-bit samples cannot be read", hint=_EXPORT)


def problem(facts: Mapping[str, Any]) -> PhotoError:
    """Why there are no pixels."""
    if facts["problem"] == "no decoder":
        return PhotoError(
            f"a DICOM file packed as {_name(facts['syntax_name'])} needs a decoder that is not installed",
            hint=f"install one with {pip_install('pylibjpeg', 'pylibjpeg-libjpeg')}, or {_EXPORT}",
        )
    return _damaged(gettext_noop("its pixels are missing or damaged"))


def of(facts: Mapping[str, Any], parts: list[bytes]) -> Dicom:
    """The picture that `check_facts` has let through."""
    palette = tuple(tuple(entry) for entry in facts["palette"] if entry)
    return Dicom(
        facts["photometric"],
        facts["samples"],
        (facts["columns"], facts["rows"]),
        facts["allocated"],
        facts["stored"],
        bool(facts["planar"]),
        bool(facts["is_little_endian"]),
        facts["syntax"],
        palette,
        tuple(parts[1:4]),
        parts[4],
        Colour(icc=parts[0]),
    )


def to_image(photo: Dicom) -> Image.Image:
    """Unpacked pixels as a picture in RGB or of one channel.

    Raises:
        PhotoError: there are fewer than it announces.
    """
    if photo.photometric == "YBR_FULL_422":
        return _ybr(_upsampled(photo))
    numbers = _numbers(photo)
    if photo.photometric == _PALETTE:
        return Image.fromarray(_looked_up(photo, numbers[..., 0]))
    if photo.photometric in _MONOCHROME:
        grey = numbers[..., 0]
        grey = (2**photo.stored - 1) - grey if photo.photometric == "MONOCHROME1" else grey
        return Image.fromarray(grey if photo.allocated == 8 else grey.astype(np.uint16))
    pixels = np.ascontiguousarray(numbers >> (photo.stored - 8), np.uint8)
    return _ybr(pixels) if photo.photometric == "YBR_FULL" else Image.fromarray(pixels)


def as_jpeg(photo: Dicom) -> bytes:
    """The JPEG in it; where that does not say how its colours are coded, as the tags say."""
    start = photo.pixels[:2]
    if photo.samples == 1 or b"\xff\xee" in photo.pixels[:1024] or b"\xff\xe0" in photo.pixels[2:4]:
        return photo.pixels
    return start + _ADOBE + (b"\0" if photo.photometric == "RGB" else b"\1") + photo.pixels[2:]


def from_jpeg_2000(photo: Dicom, decoded: Image.Image) -> Image.Image:
    """A decoded JPEG 2000, whose decoder knows nothing of the tags."""
    if photo.photometric in _YBR:
        return _ybr(np.asarray(decoded.convert("RGB")))
    return inverted(photo, decoded)


def inverted(photo: Dicom, decoded: Image.Image) -> Image.Image:
    """Of MONOCHROME1, whose black is its largest number, the negative."""
    return decoded.point(lambda level: 255 - level) if photo.photometric == "MONOCHROME1" else decoded


def _numbers(photo: Dicom) -> NDArray[Any]:
    """The samples, ``(rows, columns, samples)``."""
    (width, height), order = photo.size, "<" if photo.is_little_endian else ">"
    dtype = np.dtype(np.uint8) if photo.allocated == 8 else np.dtype(f"{order}u2")
    count = width * height * photo.samples
    if len(photo.pixels) < count * dtype.itemsize:
        raise _damaged(gettext_noop("a part of the pixels is missing"))
    numbers = np.frombuffer(photo.pixels, dtype, count)
    if photo.stored < photo.allocated:  # the upper bits may hold anything, such as an overlay
        numbers = numbers & (2**photo.stored - 1)
    if photo.is_planar and photo.samples == 3:
        return np.moveaxis(numbers.reshape(3, height, width), 0, -1)
    return numbers.reshape(height, width, photo.samples)


def _upsampled(photo: Dicom) -> NDArray[np.uint8]:
    """Luminance of two pixels and their common colours (PS3.3, C.7.6.3.1.2), as three channels."""
    (width, height), count = photo.size, photo.size[0] * photo.size[1] * 2
    if len(photo.pixels) < count or width % 2 or photo.allocated != 8:
        raise _damaged(gettext_noop("a part of the pixels is missing"))
    four = np.frombuffer(photo.pixels, np.uint8, count).reshape(height, width // 2, 4)
    colours = np.repeat(four[..., 2:], 2, axis=1)
    return np.concatenate([four[..., :2].reshape(height, width, 1), colours], axis=2)


def _ybr(pixels: NDArray[np.uint8]) -> Image.Image:
    """Full-range YCbCr is JPEG's (PS3.3, C.7.6.3.1.2)."""
    height, width, _ = pixels.shape
    return Image.frombytes("YCbCr", (width, height), np.ascontiguousarray(pixels).tobytes()).convert("RGB")


def _looked_up(photo: Dicom, indices: NDArray[Any]) -> NDArray[np.uint8]:
    """The colours that a palette gives for the indices; beyond its ends, the ends (PS3.3, C.7.6.3.1.5)."""
    if len(photo.palette) != 3 or any(len(entry) != 3 for entry in photo.palette):
        raise _damaged(gettext_noop("its palette is missing"))
    return np.stack(
        [
            _table(photo, *entries)[_within(indices, entries[0])]
            for entries in zip(photo.palette, photo.tables, strict=True)
        ],
        axis=-1,
    )


def _within(indices: NDArray[Any], described: tuple[int, int, int]) -> NDArray[np.int64]:
    number, first, _ = described
    return (indices.astype(np.int64) - first).clip(0, (number or 65536) - 1)


def _table(photo: Dicom, described: tuple[int, int, int], table: bytes) -> NDArray[np.uint8]:
    number, bits = described[0] or 65536, described[2]
    if bits == 8 and len(table) >= number and len(table) < 2 * number:
        return np.frombuffer(table, np.uint8, number)
    if bits not in (8, 16) or len(table) < 2 * number:
        raise _damaged(gettext_noop("its palette is missing"))
    words = np.frombuffer(table, "<u2" if photo.is_little_endian else ">u2", number)
    return (words >> 8 if bits == 16 else words).astype(np.uint8)


def _name(value: object) -> str:
    """Text of the file, for a message."""
    return one_line(str(value)[:80])


def _damaged(where: str) -> PhotoError:
    return PhotoError(f"the DICOM file is damaged or truncated ({where})", hint=_AGAIN)
