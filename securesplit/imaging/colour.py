"""Any colours -> sRGB, as the network was trained: by the embedded ICC profile, or by what PNG says in its own chunks.

Relative colorimetric with black point compensation: colours that sRGB has stay what they are, which is what a network
needs that looks at colour; and it is the intent with which photo programs convert unless they are told otherwise. A
profile that is broken, or of another colour space than the pixels, is ignored, as in browsers.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from securesplit.errors import PhotoError
from securesplit.imaging.container import Colour

Converter = Callable[[Image.Image], Image.Image]

SAME = 2  # levels of 255; an embedded sRGB differs from lcms's own by as much, and then pixels stay as they are
MAX_PROFILE_BYTES = 4 * 2**20  # of a press, with three tables of 17^4 points, 2.7 MB
SRGB_PRIMARIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""x and y of white, red, green and blue (ITU-R BT.709)."""

_INTENT, _FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
_SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK", "LAB": b"Lab "}
_PRIMARIES = {  # ITU-T H.273, table 2
    1: SRGB_PRIMARIES,
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES: dict[int, tuple[float, ...]] = {
    1: _BT709_CURVE,
    6: _BT709_CURVE,
    14: _BT709_CURVE,
    15: _BT709_CURVE,
    13: _SRGB_CURVE,
}  # table 3
_CURVES |= {4: (2.2,), 5: (2.8,), 8: (1.0,)}
_HDR = {16: "PQ", 18: "HLG"}
_GAMMAS = (0.1, 5.0)
_SRGB_GAMMA, _GAMMA_TOLERANCE = 1 / 2.2, 0.05  # libpng treats what is so near as sRGB
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def converter(mode: str, colour: Colour) -> Converter:
    """What turns an image of `mode` (RGB, L, CMYK or LAB) into RGB, in sRGB.

    Raises:
        PhotoError: the photo is HDR, whose white is not known.
    """
    profile = colour.icc if len(colour.icc) <= MAX_PROFILE_BYTES else b""
    if mode == "L" and not profile:
        return _after(_to_rgb, converter("RGB", colour))
    if mode == "RGB" and not profile:
        profile = _profile_of(colour)
    if mode == "LAB":
        return _convert_by(ImageCms.createProfile("LAB"), mode)
    return _converter_by(profile, mode)


def _to_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _after(first: Converter, second: Converter) -> Converter:
    return lambda image: second(first(image))


def _converter_by(profile: bytes, mode: str) -> Converter:
    """By an ICC profile, if that is one for the mode and says anything else than sRGB."""
    if profile[16:20] != _SPACES.get(mode):
        return _to_rgb
    try:
        convert = _convert_by(ImageCms.getOpenProfile(io.BytesIO(profile)), mode)
        is_plain = mode == "RGB" and _changes_nothing(convert)
    except Exception:  # noqa: BLE001  (whatever a broken profile raises, the pixels are whole)
        return _to_rgb
    return _to_rgb if is_plain else convert


def _convert_by(profile: Any, mode: str) -> Converter:
    transform = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), mode, "RGB", renderingIntent=_INTENT, flags=_FLAGS
    )

    def convert(image: Image.Image) -> Image.Image:
        return transform.apply(image)

    return convert


def _changes_nothing(convert: Converter) -> bool:
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    converted = np.asarray(convert(Image.fromarray(grid)), np.int16)
    return bool(np.abs(converted - grid).max() <= SAME)


def _profile_of(colour: Colour) -> bytes:
    """A profile that says the same as PNG's chunks; nothing where they say nothing that makes sense."""
    if colour.cicp is not None:
        primaries, transfer = colour.cicp
        if transfer in _HDR:
            raise PhotoError(f"the photo is HDR ({_HDR[transfer]})", hint="save it as an ordinary picture, in sRGB")
        known, curve = _PRIMARIES.get(primaries), _CURVES.get(transfer)
        return _matrix_profile(known, curve) if known and curve else b""
    if colour.gamma is None or not _GAMMAS[0] <= colour.gamma <= _GAMMAS[1]:
        return b""
    is_srgb = abs(colour.gamma / _SRGB_GAMMA - 1) < _GAMMA_TOLERANCE
    return _matrix_profile(colour.chromaticities or SRGB_PRIMARIES, _SRGB_CURVE if is_srgb else (1 / colour.gamma,))


def _matrix_profile(primaries: tuple[float, ...], curve: tuple[float, ...]) -> bytes:
    """An ICC profile (ICC.1:2022, section 8.3.3) of three primaries and one curve.

    Args:
        primaries: x and y of white, red, green and blue.
        curve: parameters of a parametricCurveType: an exponent, or the five of type 3.
    """
    matrix = _to_d50(primaries)
    if matrix is None:
        return b""
    bend = b"para\0\0\0\0" + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + b"".join(map(_fixed, curve))
    columns = [b"XYZ \0\0\0\0" + b"".join(map(_fixed, column)) for column in matrix.T]
    white = b"XYZ \0\0\0\0" + b"".join(map(_fixed, _D50))
    tags = dict(zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), (white, *columns), strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), bend)
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    header = struct.pack(">I4xI", start + len(body), 0x04300000) + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + b"".join(map(_fixed, _D50))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _to_d50(primaries: tuple[float, ...]) -> NDArray[np.float64] | None:
    """The matrix from linear RGB to XYZ under D50, ``(3, 3)``; None where the primaries span no colours."""
    x, y = np.array(primaries[::2]), np.array(primaries[1::2])
    if (y <= 0).any() or len(primaries) != len(SRGB_PRIMARIES):
        return None
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    white, corners = xyz[:, 0], xyz[:, 1:]
    if abs(np.linalg.det(corners)) < 1e-6:
        return None
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ corners
    return adapted * np.linalg.solve(corners, white)


def _fixed(value: float) -> bytes:
    """s15Fixed16Number."""
    return struct.pack(">i", round(float(np.clip(value, -32000, 32000)) * 65536))
