"""Arrays -> what the page draws: pixels in base64 for a canvas, since no page of ours may hold an image of its own."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.imaging import load_whole
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import Crop

KEPT_SIDE = 96  # pixels, of the small picture in a history
WHOLE_EDGE = 480  # pixels, of the longer edge of a photo that is shown as a whole
WHOLE_SHARE = 0.98  # of a photo: a square that has more of it is not shown in it
SHOWN_SIDE = 128  # bytes, of the part of a ciphertext that is drawn
MOST_CELLS = 12  # values that are drawn beside the one that was sent


@dataclass(frozen=True)
class Canvas:
    """Pixels for a canvas.

    Attributes:
        width: pixels.
        height: pixels.
        rgb: ``height × width × 3`` bytes in base64.
    """

    width: int
    height: int
    rgb: str


def canvas(pixels: NDArray[np.uint8]) -> Canvas:
    """Of a picture ``(h, w, 3) uint8``."""
    return Canvas(pixels.shape[1], pixels.shape[0], base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode())


def whole(photo: bytes, crop: Crop | None, side: int) -> Canvas | None:
    """A photo's file as a picture, upright as the network saw it; None where the network saw nearly all of it.

    Browsers turn some formats another way, and cannot read others, so they are not asked to.
    """
    if crop is None or (crop.right - crop.left) * (crop.bottom - crop.top) >= WHOLE_SHARE:
        return None
    return canvas(load_whole(io.BytesIO(photo), side, WHOLE_EDGE))


def small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture at `KEPT_SIDE` pixels, ``(96, 96, 3) uint8``."""
    return np.asarray(Image.fromarray(pixels).resize((KEPT_SIDE, KEPT_SIDE), Image.Resampling.BICUBIC), np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A picture ``(h, w, 3) uint8`` as a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def from_png(content: bytes) -> NDArray[np.uint8]:
    """The picture in a file that `png` made."""
    return np.asarray(Image.open(io.BytesIO(content), formats=["PNG"]).convert("RGB"), np.uint8)


@dataclass(frozen=True)
class Cell:
    """One value that a release of one integer can take."""

    value: int
    is_sent: bool
    is_level: bool


def cells(release: NDArray[Any], spec: ReleaseSpec) -> list[Cell]:
    """A release of one integer, among the levels that its head uses and what the noise made of it.

    Empty for a release of several integers, and where the noise went far beyond the levels.
    """
    if release.size != 1 or spec.levels is None:
        return []
    value, (lowest, highest) = int(release.item()), spec.levels
    shown = range(min(value, lowest), max(value, highest) + 1)
    if len(shown) > MOST_CELLS:
        return []
    return [Cell(each, each == value, lowest <= each <= highest) for each in shown]


def grey(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first bytes of a ciphertext as a square of greys, ``(SHOWN_SIDE, SHOWN_SIDE, 3) uint8``."""
    square = content[: SHOWN_SIDE**2].reshape(SHOWN_SIDE, SHOWN_SIDE)
    return np.repeat(square[..., None], 3, axis=2)


def tiles(release: NDArray[Any]) -> NDArray[np.uint8]:
    """Any release as a grey picture, its smallest value dark: the channels of a map side by side, else a square.

    Returns:
        ``(h, w, 3) uint8``.
    """
    shape = release.shape if release.ndim == 3 else (1, 1, release.size)
    height, width, channels = shape
    across = math.ceil(math.sqrt(channels))
    values = release.reshape(shape).astype(np.float64)
    low, high = values.min(), values.max()
    sheet = np.full((across * (height + 1) - 1, across * (width + 1) - 1, 3), 255, np.uint8)
    for channel in range(channels):
        top, left = channel // across * (height + 1), channel % across * (width + 1)
        scaled = 225 * (values[..., channel] - low) / max(high - low, 1e-9)
        sheet[top : top + height, left : left + width] = scaled.astype(np.uint8)[..., None]
    return sheet
