"""How much memory a photo may take, known before any of it is decoded."""

from __future__ import annotations

from securesplit.errors import PhotoError
from securesplit.imaging.container import Container

MAX_PIXELS = 120_000_000  # pixels; the largest phone sensors have 108 to 200 megapixels and bin them by default
MAX_DECODED_BYTES = 256 * 2**20
"""Of the decoded picture and its codec together: 67 megapixels of an RGB PNG. With the file and its copies (at most
3 × 64 MiB) and what comes after, reading any photo stays below 500 MB; a baseline JPEG decodes at a reduced scale."""
MAX_PARTS_BYTES = 64 * 2**20
"""Of the parts of a file (strips, tiles, extents) together, each counted as often as it is named: as much as the
largest file has. Parts of an honest file hardly overlap, and each is looked at, or copied, by itself."""
MAX_INFLATED_BYTES = 4 * MAX_DECODED_BYTES
"""Of all strips together, while their checksums are looked at; a picture of 16-bit samples is larger than decoded."""
MIN_SIDE = 32  # pixels; below this there is nothing to see

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # of Pillow's modes; all others have 4
_CODEC_PIXEL_BYTES = {"WEBP": 16, "JPEG": 8, "HEIF": 1, "AVIF": 12, "DICOM": 12}
"""Beside the picture: WebP's decoder holds the canvas twice, the picture, and a copy to hand out; a JPEG is decoded a
second time and compared. The decoders of HEIF and AVIF have a process of their own, with 5 and 14 bytes a pixel while
this one is filled (`securesplit.imaging.isolated`). A DICOM file's pixels are held packed, unpacked and converted."""


def check_size(size: tuple[int, int]) -> None:
    """Refuse a picture that is too large or too small, by width and height in pixels.

    Raises:
        PhotoError: beyond `MAX_PIXELS` or `MIN_SIDE`.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise too_large()
    if min(size) < MIN_SIDE:
        raise PhotoError(f"the photo is smaller than {MIN_SIDE} pixels", hint="take the photo at full resolution")


def check_memory(size: tuple[int, int], mode: str, container: Container) -> None:
    """Refuse a picture that would take too much memory to decode.

    Args:
        size: width and height in pixels, at the scale that it will be decoded at.
        mode: Pillow's, of the decoded picture.
        container: its file.

    Raises:
        PhotoError: beyond `MAX_DECODED_BYTES`.
    """
    pixels = size[0] * size[1]
    each = _PIXEL_BYTES.get(mode, 4) + _CODEC_PIXEL_BYTES.get(container.format, 0)
    if pixels * each + container.codec_bytes > MAX_DECODED_BYTES:
        raise PhotoError(
            f"decoding this {container.format} would take more than {MAX_DECODED_BYTES // 2**20} MiB of memory",
            hint="scale the photo down first, or save it as a baseline (not progressive) JPEG",
        )


def too_large() -> PhotoError:
    """The refusal of a picture beyond `MAX_PIXELS`."""
    return PhotoError(
        f"the photo has more than {MAX_PIXELS // 1_000_000} megapixels", hint="scale the photo down first"
    )
