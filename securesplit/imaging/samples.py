"""Numbers that are not 8 bits wide -> 8 bits, by what the file says of black and white; what it leaves open is refused.

A reader that guesses makes a black or a white picture of a good photo, and a network answers for any picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.errors import PhotoError
from securesplit.imaging.container import Samples

SIXTEEN_BITS = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
DEEP = SIXTEEN_BITS | {"I", "F"}
"""Pillow's modes of one channel with more than 8 bits."""
BYTE_BITS = 8
STRIP_PIXELS = 4_000_000  # worked on at once, so that no step needs a whole picture again
MIN_RANGE = 0.25
"""Of what the bits could hold: where no number comes so far, the range is likely one of 10, 12 or 14 bits."""

_HINT = "save the photo with 8 bits a sample from the program that made it"


def check_samples(image: Image.Image, samples: Samples) -> None:
    """Refuse a picture whose black and white are not known.

    Raises:
        PhotoError: the file does not say them, or its numbers are unlikely to use the range of the format.
    """
    if image.mode in DEEP and (samples.darkest is None or samples.lightest is None):
        raise PhotoError("the file does not say which of its numbers are black and white", hint=_HINT)
    if samples.is_assumed and samples.bits > BYTE_BITS and _largest(image, samples) < MIN_RANGE:
        raise PhotoError(
            f"no sample uses the upper part of its {samples.bits} bits, and the file does not say which one is white",
            hint=_HINT,
        )


def to_bytes(image: Image.Image, samples: Samples) -> Image.Image:
    """A picture of one deep channel with 8 bits, black at 0, and opacity where one number is clear; any other as it is.

    Raises:
        PhotoError: a number is not finite.
    """
    if image.mode not in DEEP or samples.darkest is None or samples.lightest is None:
        return image
    numbers = _numbers(image, samples)
    if (samples.darkest, samples.lightest) == (0, 2**16 - 1) and image.mode in SIXTEEN_BITS:
        scaled = (numbers >> BYTE_BITS).astype(np.uint8)
    elif np.isfinite(numbers).all():
        exact = (numbers - np.float64(samples.darkest)) * (255 / (samples.lightest - samples.darkest))
        scaled = exact.round().clip(0, 255).astype(np.uint8)
    else:
        raise PhotoError("the photo has samples that are not finite", hint=_HINT)
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return Image.fromarray(scaled)
    return Image.fromarray(np.dstack([scaled, np.where(numbers == clear, np.uint8(0), np.uint8(255))]), "LA")


def _largest(image: Image.Image, samples: Samples) -> float:
    """The largest number, as a share of what its bits could hold."""
    if image.mode in DEEP:
        largest = max(float(strip.max()) for strip in _strips(image, samples))
        return float(largest / (2**samples.bits - 1))
    extrema = image.getextrema()  # the decoder has kept the upper 8 bits
    bands = extrema[:3] if isinstance(extrema[0], tuple) else (extrema,)
    return max(float(high) for _, high in bands) / 255


def _strips(image: Image.Image, samples: Samples) -> Iterator[NDArray[Any]]:
    """The numbers, a part at a time."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield _numbers(image.crop((0, top, image.width, min(image.height, top + rows))), samples)


def _numbers(image: Image.Image, samples: Samples) -> NDArray[Any]:
    numbers = np.asarray(image)
    return numbers.view(np.uint32) if samples.is_unsigned and image.mode == "I" else numbers
