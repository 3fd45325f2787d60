"""Pictures that a gate must refuse: photos of moles made worse, and textures that were drawn.

Each kind of harm has a range of strengths, from what is hardly seen to what leaves nothing; a gate learns from all of
them and is calibrated on what it must let through.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from securesplit.imaging.lesion import find_lesion

Pixels = NDArray[np.uint8]
Harm = Callable[[Image.Image, np.random.Generator, int], Pixels]


def square(image: Image.Image, side: int, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """The centre square, or `box` in pixels, scaled to `side` as `securesplit.imaging` does."""
    if box is None:
        edge = min(image.size)
        left, top = (image.width - edge) // 2, (image.height - edge) // 2
        box = (left, top, left + edge, top + edge)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)


def blurred(image: Image.Image, rng: np.random.Generator, side: int) -> Pixels:
    """Out of focus, by σ of 0.5 to 4 % of the side; one in three moved instead."""
    picture, sigma = square(image, side), side * float(np.exp(rng.uniform(np.log(0.005), np.log(0.04))))
    if rng.random() > 1 / 3:
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)))
    return _moved(np.asarray(picture), max(3, round(3.5 * sigma)), horizontal=rng.random() < 0.5)


def _moved(pixels: Pixels, length: int, *, horizontal: bool) -> Pixels:
    """The mean of `length` pixels along a row or a column."""
    lines = np.moveaxis(pixels.astype(np.float64), 1 if horizontal else 0, 0)
    before = length // 2 + 1
    padded = np.concatenate([np.repeat(lines[:1], before, 0), lines, np.repeat(lines[-1:], length - before, 0)])
    sums = np.cumsum(padded, axis=0)
    means = (sums[length:] - sums[:-length]) / length
    turned: Pixels = np.moveaxis(means, 0, 1 if horizontal else 0).clip(0, 255).astype(np.uint8)
    return turned


def darkened(image: Image.Image, rng: np.random.Generator, side: int) -> Pixels:
    """Too little light: 8 to 50 % of it, by gain or by a curve, half of them with a sensor's noise."""
    share, pixels = rng.uniform(0.08, 0.5), np.asarray(square(image, side)).astype(np.float64)
    curve = 1.0 if rng.random() < 0.6 else 2.2
    dark = 255 * share * (pixels / 255) ** curve
    noise = rng.normal(0, rng.uniform(0.5, 3), pixels.shape) if rng.random() < 0.5 else 0.0
    return (dark + noise).clip(0, 255).astype(np.uint8)


def overexposed(image: Image.Image, rng: np.random.Generator, side: int) -> Pixels:
    """Too much light: 1.5 to 3 times as much."""
    return (np.asarray(square(image, side)) * rng.uniform(1.5, 3)).clip(0, 255).astype(np.uint8)


def enlarged(image: Image.Image, rng: np.random.Generator, side: int) -> Pixels:
    """From 10 to 37 % of the pixels along an edge."""
    small = round(side * rng.uniform(0.1, 0.37))
    few = square(image, side).resize((small, small), Image.Resampling.BILINEAR)
    return np.asarray(few.resize((side, side), Image.Resampling.BICUBIC))


def cut_off(image: Image.Image, rng: np.random.Generator, side: int) -> Pixels:
    """A square of 50 to 85 % of the edge whose border runs through the lesion, where one stands out; else at a side."""
    size = min(image.size) * rng.uniform(0.5, 0.85)
    lesion = find_lesion(image)
    free = (image.width - size, image.height - size)
    if lesion is None or rng.random() < 0.3:
        spot = [rng.uniform(0.2, 0.8) * room for room in free]
        axis = int(rng.integers(2))
        spot[axis] = free[axis] * int(rng.integers(2))
    else:
        spot = _through(lesion, size, free, rng)
    left, top = (float(np.clip(at, 0, room)) for at, room in zip(spot, free, strict=True))
    return np.asarray(square(image, side, (left, top, left + size, top + size)))


def _through(
    lesion: tuple[float, float, float, float], size: float, free: tuple[float, float], rng: np.random.Generator
) -> list[float]:
    """Where a window begins, one of whose four borders cuts 30 to 70 % of the lesion off."""
    axis, share, is_low = int(rng.integers(2)), rng.uniform(0.3, 0.7), rng.random() < 0.5
    low, high = lesion[axis], lesion[axis + 2]
    border = low + share * (high - low)
    spot = [(lesion[a] + lesion[a + 2]) / 2 - size / 2 + rng.uniform(-0.1, 0.1) * size for a in (0, 1)]
    spot[axis] = border if is_low else border - size
    if not 0 <= spot[axis] <= free[axis]:
        spot[axis] = border - size if is_low else border
    return spot


def bare(image: Image.Image, rng: np.random.Generator, side: int) -> Pixels:
    """Skin beside the lesion: a corner of 18 to 30 % of the edge, 3 % away from the border."""
    edge = min(image.size)
    size, right, bottom = edge * rng.uniform(0.18, 0.3), bool(rng.integers(2)), bool(rng.integers(2))
    left = image.width - size - 0.03 * edge if right else 0.03 * edge
    top = image.height - size - 0.03 * edge if bottom else 0.03 * edge
    return np.asarray(square(image, side, (left, top, left + size, top + size)))


def recoloured(image: Image.Image, rng: np.random.Generator, side: int) -> Pixels:
    """What skin never looks like: channels exchanged, or the negative."""
    pixels = np.asarray(square(image, side))
    orders = [(2, 1, 0), (1, 0, 2), (2, 0, 1), (1, 2, 0)]
    if (chosen := int(rng.integers(5))) == 4:
        return 255 - pixels
    return np.ascontiguousarray(pixels[..., orders[chosen]])


def without_colour(image: Image.Image, _rng: np.random.Generator, side: int) -> Pixels:
    """In grey; no gate is fitted on such pictures, since pixels tell (`securesplit.imaging.quality`)."""
    return np.asarray(square(image, side).convert("L").convert("RGB"))


HARMS: dict[str, Harm] = {
    "blur": blurred,
    "dark": darkened,
    "bright": overexposed,
    "cut": cut_off,
    "bare": bare,
    "enlarged": enlarged,
    "recoloured": recoloured,
}
REASONS = {
    "blur": "blur",
    "dark": "lighting",
    "bright": "lighting",
    "cut": "framing",
    "bare": "no-lesion",
    "enlarged": "low-resolution",
    "recoloured": "not-skin",
}
"""What a photo with such harm is refused for."""


def harmed(image: Image.Image, harm: str, rng: np.random.Generator, side: int) -> Pixels:
    """An RGB image with one of `HARMS`, ``(side, side, 3) uint8``."""
    return HARMS[harm](image, rng, side)
