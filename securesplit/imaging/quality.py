"""How good a photo is, measured on its pixels: light, colour, sharpness, and how many of them there are.

These measures need no network, so they hold for every bundle. Their bounds are loose: fewer than one in 500 training
photos of any source lie outside (docs/adr/080-refusals-on-the-device.md). What is between is left to the gate of a
bundle (`securesplit.model.gate`), which gets the same measures beside the feature map.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.results import RefusalReason

MEASURES = 10
"""Numbers that `measure` gives."""
SIDE = 150
"""Pixels; sharpness is judged at no larger side, so that one bound serves networks of any input size."""
LEAST_SHARE_OF_SIDE = 0.6
"""Of the network's input that a photo's square must have; below, most of what the network sees is made up."""
DARK, BRIGHT = 65.0, 240.0  # mean brightness, 0..255
PLAIN = 2.5  # standard deviation of brightness: nothing to be seen
GREY = 3.0  # mean of the difference between a pixel's largest and smallest channel
TINTED = 1.3  # of 255: how far colours lie from what brightness alone tells; photos in colour have 1.5 at least
CELL = 4  # pixels at `SIDE`: colours are judged by the means of so many squared, where a JPEG's own errors cancel out
CLIPPED = (8, 246)  # channels of cells that lie beyond say little of a tint
BLURRED = 1.2  # mean of the absolute Laplacian of brightness
ALONG = 0.85  # of a row or column: where it is another colour than the one beside it all along, an edge runs there
MIDDLE = (0.2, 0.8)  # of the square, where such an edge counts; a border of the picture lies outside
HAIR = 2  # pixels at `SIDE`: what is no wider is a line, on both sides of which the colour is the same
SEAM = 9.0  # of 255: by how much the colour steps more there than in nine of ten places; photos of hair reach 6


@dataclass(frozen=True, eq=False)
class Look:
    """What `measure` and `check` both need of a photo.

    Attributes:
        grey: brightness, ``(h, w)``.
        chroma: mean difference between a pixel's largest and smallest channel.
        detail: absolute value of the four-neighbour Laplacian of `grey`, ``(h - 2, w - 2)``.
    """

    grey: NDArray[np.float32] = field(repr=False)
    chroma: np.float32
    detail: NDArray[np.float32] = field(repr=False)


def look(pixels: NDArray[np.uint8]) -> Look:
    """Compute it of ``(side, side, 3) uint8``."""
    grey, chroma = _grey_and_chroma(pixels)
    return Look(grey, chroma, _laplacian(grey))


def measure(pixels: NDArray[np.uint8], seen: Look | None = None) -> NDArray[np.float32]:
    """Light, contrast, colour and detail of a photo, ``(side, side, 3) uint8`` -> ``(10,) float32``, each about 0..5.

    Brightness and its spread, colour, gradient, Laplacian (mean and its 99th percentile), shares of white and of black,
    Laplacian at half the size, and the ratio of both Laplacians, which falls where a picture was blurred or enlarged.

    Args:
        pixels: of the photo.
        seen: of the same pixels, where that was computed before.
    """
    seen = seen or look(pixels)
    grey, chroma, detail = seen.grey, seen.chroma, seen.detail
    coarse = _laplacian(_halved(grey)).mean()
    white, black = (np.count_nonzero(some) / some.size for some in (pixels > 250, pixels < 20))
    gradient = np.abs(np.diff(grey, axis=1)).mean()
    return np.array(
        [
            grey.mean() / 50,
            grey.std() / 20,
            np.log(chroma + 1),
            np.log(gradient + 0.1),
            np.log(detail.mean() + 0.1),
            np.log(_quantile(detail, 0.99) + 1),
            white * 5,
            black * 5,
            np.log(coarse + 0.1),
            np.log((detail.mean() + 0.1) / (coarse + 0.1)),
        ],
        np.float32,
    )


def check(
    pixels: NDArray[np.uint8], edge: int, seen: Look | None = None, whole: NDArray[np.uint8] | None = None
) -> RefusalReason | None:
    """Why a photo cannot be judged by any network; None where pixels alone do not tell.

    Args:
        pixels: as the head sees them, ``(side, side, 3) uint8``.
        edge: of the photo's square as it came, in pixels.
        seen: of the same pixels, where that was computed before.
        whole: the photo's whole centre square, where `pixels` is a part of it, ``(side, side, 3) uint8``: a collage is
            one, too, where the network would see but one of its pictures.
    """
    if edge < LEAST_SHARE_OF_SIDE * len(pixels):
        return "low-resolution"
    small = _at_most(pixels, SIDE)
    judged = seen if seen and small is pixels else look(small)
    if not DARK <= judged.grey.mean() <= BRIGHT:
        return "lighting"
    if judged.grey.std() < PLAIN:
        return "no-lesion"
    if judged.chroma < GREY:
        return "grey"
    if judged.detail.mean() < BLURRED:
        return "blur"
    if len(small) < SIDE:
        return None
    if _is_tinted(small):
        return "grey"
    shown = [small] if whole is None or whole is pixels else [small, _at_most(whole, SIDE)]
    return "collage" if any(map(_is_joined, shown)) else None


def _grey_and_chroma(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], np.float32]:
    """Brightness, ``(h, w)``, and the mean difference between a pixel's largest and smallest channel.

    Channel by channel: a reduction over an axis of three numbers takes NumPy ten times as long.
    """
    red, green, blue = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    grey = (red.astype(np.float32) + green + blue) / np.float32(3)
    return grey, spread.astype(np.float32).mean()


def _laplacian(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Absolute value of the four-neighbour Laplacian, ``(h - 2, w - 2)``."""
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return np.abs(4 * grey[1:-1, 1:-1] - around)


def _is_tinted(pixels: NDArray[np.uint8]) -> bool:
    """Whether the colours follow from brightness alone, as in sepia or any other tinted picture in grey (ADR 164)."""
    cells = _cell_means(pixels).reshape(-1, 3)
    kept = cells[(cells.min(1) > CLIPPED[0]) & (cells.max(1) < CLIPPED[1])]
    if len(kept) < len(cells) / 3:
        return False
    brightness = kept.mean(1)
    curve = np.vander((brightness - brightness.mean()) / max(float(brightness.std()), 1.0), 4)
    differences = kept[:, :2] - kept[:, 1:]  # red less green, green less blue
    beyond = differences - curve @ np.linalg.lstsq(curve, differences, rcond=None)[0]
    return bool(np.sqrt(np.square(beyond).sum(1).mean()) < TINTED)


def _cell_means(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of ``(h, w, 3)``, by `CELL` squared pixels; what is left over at the end is left out."""
    h, w = (n // CELL * CELL for n in pixels.shape[:2])
    rows = pixels[:h, :w].reshape(h // CELL, CELL, w, 3).sum(1, dtype=np.float64)
    means: NDArray[np.float64] = rows.reshape(h // CELL, w // CELL, CELL, 3).sum(2) / CELL**2
    return means


def _is_joined(pixels: NDArray[np.uint8]) -> bool:
    """Whether two pictures meet in the middle of this one: a straight edge without width, all along (ADR 158)."""
    channels = pixels.transpose(2, 0, 1)
    return any(_edge(np.ascontiguousarray(each)) > SEAM for each in (channels, channels.transpose(0, 2, 1)))


def _edge(channels: NDArray[np.uint8]) -> float:
    """By how much the sharpest edge between two rows of ``(3, h, w)`` exceeds what nine in ten reach.

    The colour must differ beyond the rows beside it, too: on both sides of a hair it is the same.
    """
    height, width = channels.shape[1:]
    first, last = (int(share * height) for share in MIDDLE)
    steps = [
        _difference(channels[:, first - beyond : last - beyond], channels[:, first + 1 + beyond : last + 1 + beyond])
        for beyond in (0, HAIR)
    ]
    least = int((1 - ALONG) * width)
    along = np.partition(np.minimum(*steps), least, axis=1)[:, least].astype(np.float32)
    return float(along.max() - _quantile(along, 0.9))


def _difference(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest of the three channels, ``(3, h, w)`` twice -> ``(h, w)``."""
    found: NDArray[np.uint8] = (np.maximum(some, others) - np.minimum(some, others)).max(0)
    return found


def _halved(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """At half the size, by means of 2×2 pixels; a reduction over two axes takes NumPy ten times as long."""
    h, w = (n // 2 * 2 for n in grey.shape)
    upper, lower = (grey[row:h:2, :w:2] + grey[row:h:2, 1:w:2] for row in (0, 1))
    means: NDArray[np.float32] = np.divide(upper + lower, np.float32(4))
    return means


def _quantile(values: NDArray[np.float32], share: float) -> np.float32:
    """As `np.quantile`, which sorts more than one quantile needs.

    Args:
        values: of any shape, at least two.
        share: below 1.
    """
    place = share * (values.size - 1)
    below = int(place)
    parted = np.partition(values, below, axis=None)
    low, high = parted[below], parted[below + 1 :].min()
    if place - below < 0.5:
        return np.float32(low + (high - low) * np.float32(place - below))
    return np.float32(high - (high - low) * np.float32(1 - (place - below)))


def _at_most(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if len(pixels) <= side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC), np.uint8)
