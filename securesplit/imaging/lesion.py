"""Where a photo's lesion is, and the square that the network gets to see.

The square has the photo's shorter edge and lies in its centre, unless a lesion stands out that would be cut there by
more than `CUT`: then it is slid along the longer edge until the lesion is as near its middle as the photo allows. It is
never made smaller, since the network was trained on photos at their own scale. Only pixels decide, so the same photo
gives the same square in every lossless format, on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from securesplit.results import Crop

CUT = 0.1
"""Of the lesion's box, outside the centre square; docs/adr/079-crop-follows-the-lesion.md has what it brings."""
LARGEST = 0.9
"""Of the square's edge: a lesion that is larger would be cut wherever the square lies."""
_LONG = 1.05  # times as long as wide: less leaves nowhere to slide to

_GRID, _MARGIN = 64, 6  # cells along both edges, and those at the border that are not looked at
_CONTRAST, _MOST_CELLS = 8, 45

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


@dataclass(frozen=True)
class Place:
    """A square in an image.

    Attributes:
        left, top: pixels.
        edge: pixels.
        is_slid: it follows a lesion.
    """

    left: int
    top: int
    edge: int
    is_slid: bool = False

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels."""
        return self.left, self.top, self.left + self.edge, self.top + self.edge

    def within(self, image: Image.Image) -> Crop:
        """The same in shares of the image."""
        left, top, right, bottom = self.box
        w, h = image.size
        return Crop("lesion" if self.is_slid else "centre", left / w, top / h, right / w, bottom / h)


def choose_square(image: Image.Image) -> Place:
    """The square of an upright RGB image that the network gets to see."""
    centre = centre_square(image)
    if max(image.size) < _LONG * min(image.size):
        return centre
    lesion = find_lesion(image)
    if lesion is None or max(lesion[2] - lesion[0], lesion[3] - lesion[1]) > LARGEST * centre.edge:
        return centre
    if _inside(lesion, centre) >= 1 - CUT:
        return centre
    return square_around(lesion, image.size, centre.edge)


def square_around(lesion: Box, size: tuple[int, int], edge: int) -> Place:
    """The square of that edge, in pixels, with the lesion as near its middle as an image of `size` allows."""
    left, top = (
        round(min(max((low + high - edge) / 2, 0), length - edge))
        for low, high, length in zip(lesion[:2], lesion[2:], size, strict=True)
    )
    return Place(left, top, edge, is_slid=True)


def centre_square(image: Image.Image) -> Place:
    """The largest square in the middle."""
    edge = min(image.size)
    return Place((image.width - edge) // 2, (image.height - edge) // 2, edge)


def find_lesion(image: Image.Image) -> Box | None:
    """The box of what is darker than the skin around it; None where nothing stands out."""
    small = image.convert("L").resize((_GRID, _GRID), Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(1.5))
    grey = np.asarray(small, np.float64)
    inner = grey[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    middle = np.median(inner)
    level = (np.quantile(inner, 0.03) + middle) / 2
    if middle - level < _CONTRAST:
        return None
    rows, columns = np.nonzero(inner < level)
    left, right = np.quantile(columns, [0.05, 0.95]) + _MARGIN
    top, bottom = np.quantile(rows, [0.05, 0.95]) + _MARGIN
    if max(right - left, bottom - top) > _MOST_CELLS:
        return None
    w, h = image.width / _GRID, image.height / _GRID
    return left * w, top * h, (right + 1) * w, (bottom + 1) * h


def _inside(lesion: Box, square: Place) -> float:
    """The share of the lesion's box that lies in a square."""
    left, top, right, bottom = square.box
    width = max(0.0, min(lesion[2], right) - max(lesion[0], left))
    height = max(0.0, min(lesion[3], bottom) - max(lesion[1], top))
    return width * height / ((lesion[2] - lesion[0]) * (lesion[3] - lesion[1]))
