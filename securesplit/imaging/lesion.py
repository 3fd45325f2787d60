"""Where a photo's lesion is, and the square that the network gets to see.

A bundle says which square its network was trained on (`securesplit.results.Framing`):

``centre square``
    It has the photo's shorter edge and lies in its centre, unless a lesion stands out that would be cut there by more
    than `CUT`: then it is slid along the longer edge until the lesion is as near its middle as the photo allows.
``lesion``
    The same, but no larger than `AROUND` times the lesion, around which it then lies; with fewer pixels than a network
    needs, it has those. So a mole is seen no smaller than it should be, from whatever distance it was photographed.

Only pixels decide, so the same photo gives the same square in every lossless format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from securesplit.imaging.quality import LEAST_SHARE_OF_SIDE
from securesplit.results import Crop, Framing

CUT = 0.1
"""Of the lesion's box, outside the centre square; docs/adr/079-crop-follows-the-lesion.md has what it brings."""
LARGEST = 0.9
"""Of the square's edge: a lesion that is larger would be cut wherever the square lies."""
_LONG = 1.05  # times as long as wide: less leaves nowhere to slide to
AROUND = 2.5
"""Times the longer edge of the lesion's box: the largest edge of a square around it
(docs/adr/172-squares-around-lesions.md)."""

_CELLS = 96  # along the shorter edge of the picture that is looked at
_LONGEST = 10  # times as long as wide: beyond, it has more cells than there is time and memory for
_BLUR = 1.5  # cells; hairs and grain vanish
_RIM = 0.375  # of the way from the middle to an edge's middle is 0.5: beyond, skin is looked for
_CENTRAL = 0.31  # how fast what lies away from the middle counts less
_DARK = 45  # of 255, of the brightest channel: the frame of a dermatoscope
_LIGHTER = 8.0  # L*, than the skin: a reflection, no lesion
_FEW_CELLS = 40
_CONTRAST = 4.0  # CIE76 units between a lesion and what lies around it
_INK = -8.0  # b*: bluer is a pen's mark on the skin, or part of a lesion where nothing else stands out
_BLUER = 18.0  # b*, than the skin, which may be violet itself
_INK_COUNTS = 0.2  # as much as other cells of a region
_INK_CONTRAST = 15.0  # CIE76 units at most: else a pen's mark hides a lesion from Otsu's threshold
_ASIDE = 0.42  # of the photo's edges from its middle: a region there is a corner, a ruler or a sleeve
_ELONGATED = 3.5  # times as long as wide: a shadow, a ruler or a strap

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """A square in an image.

    Attributes:
        left, top: pixels.
        edge: pixels.
        follows_lesion: it lies where the lesion is.
    """

    left: int
    top: int
    edge: int
    follows_lesion: bool = False

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels."""
        return self.left, self.top, self.left + self.edge, self.top + self.edge

    def within(self, image: Image.Image) -> Crop:
        """The same in shares of the image."""
        left, top, right, bottom = self.box
        w, h = image.size
        return Crop("lesion" if self.follows_lesion else "centre", left / w, top / h, right / w, bottom / h)


def choose_square(image: Image.Image, framing: Framing, side: int, largest: float = AROUND) -> Place:
    """The square of an upright RGB image that the network gets to see; the centre one where no lesion stands out.

    Args:
        image: the photo.
        framing: which square.
        side: pixels along its edge, as the network sees it.
        largest: times the lesion, of a square for the framing ``lesion``.
    """
    centre, is_long = centre_square(image), max(image.size) >= _LONG * min(image.size)
    lesion = find_lesion(image) if is_long or framing == "lesion" else None
    if lesion is None:
        return centre
    length = max(lesion[2] - lesion[0], lesion[3] - lesion[1])
    edge = max(round(largest * length), math.ceil(LEAST_SHARE_OF_SIDE * side))
    if framing == "lesion" and edge < centre.edge:
        return square_around(lesion, image.size, edge)
    if not is_long or length > LARGEST * centre.edge or _inside(lesion, centre) >= 1 - CUT:
        return centre
    return square_around(lesion, image.size, centre.edge)


def square_around(lesion: Box, size: tuple[int, int], edge: int) -> Place:
    """The square of that edge, in pixels, with the lesion as near its middle as an image of `size` allows."""
    left, top = (
        round(min(max((low + high - edge) / 2, 0), length - edge))
        for low, high, length in zip(lesion[:2], lesion[2:], size, strict=True)
    )
    return Place(left, top, edge, follows_lesion=True)


def centre_square(image: Image.Image) -> Place:
    """The largest square in the middle."""
    edge = min(image.size)
    return Place((image.width - edge) // 2, (image.height - edge) // 2, edge)


def find_lesion(image: Image.Image) -> Box | None:
    """The box of what is most unlike the skin around it, near the middle; None where nothing stands out.

    The skin is a smooth surface of colour over the photo, fitted to what most of its rim agrees on, so that neither
    light from one side nor a shadow passes for a lesion. What differs from it by more than Otsu's threshold, and is not
    lighter, makes regions, of which the most central one counts (Otsu, IEEE Trans. SMC 9:62-66, 1979). A strip that is
    more than `_LONGEST` times as long as wide is not looked at.
    """
    if max(image.size) > _LONGEST * min(image.size):
        return None
    scale = _CELLS / min(image.size)
    w, h = (max(_CELLS, round(edge * scale)) for edge in image.size)
    small = image.resize((w, h), Image.Resampling.BICUBIC, reducing_gap=3.0).filter(ImageFilter.GaussianBlur(_BLUR))
    rgb = np.asarray(small, np.uint8)
    y, x = np.meshgrid((np.arange(h) + 0.5) / h - 0.5, (np.arange(w) + 0.5) / w - 0.5, indexing="ij")
    away, is_lit = np.hypot(x, y), rgb.max(axis=-1) > _DARK
    rim = is_lit & (away > _RIM)
    if rim.sum() < _FEW_CELLS:
        return None
    lab = _to_lab(rgb)
    skin = _skin(lab, rim, x, y)
    contrast = np.sqrt(((lab - skin) ** 2).sum(axis=-1))
    contrast[~is_lit | (lab[..., 0] > skin[..., 0] + _LIGHTER)] = 0
    is_ink = (lab[..., 2] < _INK) & (lab[..., 2] < skin[..., 2] - _BLUER)
    contrast = np.where(is_ink, np.minimum(contrast, _INK_CONTRAST), contrast)
    weights = np.exp(-((away / _CENTRAL) ** 2)) * np.where(is_ink, _INK_COUNTS, 1.0)
    region = _most_central(_opened(contrast > _otsu(contrast[is_lit])), weights)
    if region.sum() < _FEW_CELLS or contrast[region].mean() - contrast[is_lit & ~region].mean() < _CONTRAST:
        return None
    if np.hypot(x[region].mean(), y[region].mean()) > _ASIDE:
        return None
    rows, columns = np.nonzero(region)
    (left, right), (top, bottom) = (np.percentile(cells, [2, 98]) for cells in (columns, rows))
    across, down = image.width / w, image.height / h
    width, height = (right + 1 - left) * across, (bottom + 1 - top) * down
    if max(width, height) > _ELONGATED * min(width, height):
        return None
    return left * across, top * down, left * across + width, top * down + height


def _to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """SRGB -> CIE L*a*b* under D65."""
    share = np.arange(256) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear[rgb] @ _TO_XYZ
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_TO_XYZ = np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]) / [0.9505, 1, 1.089]
"""Linear sRGB -> CIE XYZ, by IEC 61966-2-1, each as a share of the white's."""


def _skin(lab: NDArray[np.float64], rim: Mask, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """A surface of the second degree through the part of the rim that agrees best, by trimmed least squares."""
    light = lab[..., 0]
    skin = np.median(lab[rim & (light >= np.percentile(light[rim], 40))], axis=0)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    for share in (70, 60, 60, 60):
        off = np.sqrt(((lab - skin) ** 2).sum(axis=-1))
        kept = rim & (off <= max(np.percentile(off[rim], share), 2.0))
        own = terms[kept]
        skin = terms @ np.linalg.lstsq(own.T @ own, own.T @ lab[kept], rcond=None)[0]
    return skin


def _otsu(values: NDArray[np.float64]) -> float:
    """The threshold that parts values into two classes as far apart as possible."""
    counts, edges = np.histogram(values, 64)
    middles = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts)[:-1], np.cumsum(counts * middles)
    above = len(values) - below
    apart = total[:-1] / np.maximum(below, 1) - (total[-1] - total[:-1]) / np.maximum(above, 1)
    return float(middles[np.argmax(below * above * apart**2)])


def _grown(mask: Mask) -> Mask:
    """With the four neighbours of each cell."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _opened(mask: Mask) -> Mask:
    """Without what is thinner than three cells, such as hairs."""
    return _grown(~_grown(~mask)) & mask


def _most_central(mask: Mask, weights: NDArray[np.float64]) -> Mask:
    """The connected region of the largest weight."""
    regions = _regions(mask)
    totals = np.bincount(regions[mask], weights[mask], minlength=1)
    region: Mask = mask & (regions == totals.argmax())
    return region


def _regions(mask: Mask) -> NDArray[np.intp]:
    """Of each cell the number of one that its region shares, in few steps however long and winding that is.

    All regions grow at once: of two neighbours the one with the higher number takes the lower one's, and with it all
    cells that had its own (Shiloach and Vishkin, J. Algorithms 3:57-67, 1982).
    """
    cells = np.arange(mask.size).reshape(mask.shape)
    across, down = mask[:, :-1] & mask[:, 1:], mask[:-1] & mask[1:]
    some = np.concatenate([cells[:, :-1][across], cells[:-1][down]])
    others = np.concatenate([cells[:, 1:][across], cells[1:][down]])
    found = cells.ravel()
    while not np.array_equal(mine := found[some], theirs := found[others]):
        np.minimum.at(found, np.maximum(mine, theirs), np.minimum(mine, theirs))
        while not np.array_equal(found, nearer := found[found]):
            found = nearer
    return found.reshape(mask.shape)


def _inside(lesion: Box, square: Place) -> float:
    """The share of the lesion's box that lies in a square."""
    left, top, right, bottom = square.box
    width = max(0.0, min(lesion[2], right) - max(lesion[0], left))
    height = max(0.0, min(lesion[3], bottom) - max(lesion[1], top))
    return width * height / ((lesion[2] - lesion[0]) * (lesion[3] - lesion[1]))
