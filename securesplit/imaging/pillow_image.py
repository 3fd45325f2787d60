"""An image that the caller has opened or made with Pillow: what its mode and its `info` say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from securesplit.errors import PhotoError
from securesplit.imaging import png
from securesplit.imaging.container import Colour, Container, Samples
from securesplit.imaging.orientation import UPRIGHT, find_orientation
from securesplit.imaging.samples import DEEP, SIXTEEN_BITS


def facts_of(image: Image.Image) -> Container:
    """What would be read from the file that the image may come from.

    Raises:
        PhotoError: its numbers may mean anything.
    """
    if image.mode in DEEP and (image.format == "TIFF" or image.mode not in SIXTEEN_BITS):
        raise PhotoError(
            f"an image of mode {image.mode} does not say which of its numbers are black and white",
            hint="give the path of its file, or scale it to 8 bits",
        )
    deep = Samples(16, 0, 2**16 - 1, is_assumed=True)
    return Container(
        str(image.format),
        b"",
        orientation=_orientation(image),
        colour=_colour(image.info),
        samples=deep if image.mode in DEEP else Samples(),
    )


def _orientation(image: Image.Image) -> int:
    """As in a file; a TIFF was turned by Pillow already."""
    if image.format == "TIFF":
        return UPRIGHT
    exif = _bytes(image.info.get("exif"))
    for keyword in png.EXIF_KEYWORDS:
        exif = exif or png.profile_in(_bytes(image.info.get(keyword.decode())))
    xmp = _bytes(image.info.get("xmp") or image.info.get(png.XMP_KEYWORD.decode()))
    return find_orientation(exif, xmp or png.profile_in(_bytes(image.info.get(png.RAW_XMP_KEYWORD.decode()))))


def _colour(info: Mapping[Any, Any]) -> Colour:
    if profile := _bytes(info.get("icc_profile")):
        return Colour(icc=profile)
    if isinstance(points := info.get("nclx_profile"), Mapping):  # pillow-heif's
        return Colour(cicp=(points.get("color_primaries", 2), points.get("transfer_characteristics", 2)))
    gamma, corners = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or not isinstance(gamma, float):
        return Colour()
    return Colour(gamma=gamma, chromaticities=tuple(corners) if isinstance(corners, tuple) else None)


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
