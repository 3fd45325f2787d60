"""A decoded image of any mode -> upright RGB in sRGB, in strips, so that no step needs the whole picture again."""

from __future__ import annotations

import math

from PIL import Image

from securesplit.imaging.colour import Converter, converter
from securesplit.imaging.container import Container, Samples
from securesplit.imaging.orientation import turn_upright
from securesplit.imaging.samples import DEEP, STRIP_PIXELS, check_samples, to_bytes

MAX_WHOLE_PIXELS = 16_000_000
"""A decoded picture with more is reduced by a whole number, strip by strip. A JPEG decodes at a scale at which it has
far fewer."""
_SHARP = 4  # how many times the side that is wanted a reduced picture keeps
_MOST_PIXELS = 32_000_000  # of a reduced picture: a strip, or a photo for a network of large ones, would keep all

_GREY = DEEP | {"1", "L", "LA", "La"}


def to_upright_rgb(image: Image.Image, container: Container, side: int) -> tuple[Image.Image, bool]:
    """The whole picture; reduced where it is large, to at least ``4 * side`` pixels along its shorter edge.

    With fewer only where that would be more than `_MOST_PIXELS` in all.

    Returns:
        the picture, and whether it was reduced.

    Raises:
        PhotoError: what its samples or its colours mean is not known.
    """
    check_samples(image, container.samples)
    convert = converter(_base_mode(image.mode), container.colour)
    box, factor = (0, 0, *image.size), 1
    is_large = image.width * image.height > MAX_WHOLE_PIXELS
    if is_large:
        needed = math.ceil(math.sqrt(image.width * image.height / _MOST_PIXELS))
        factor = max(needed, min(image.size) // (_SHARP * side))
        box = _in_whole_blocks(image.size, factor)
    found = _in_strips(image, container.samples, convert, box, factor)
    return turn_upright(found, container.orientation), is_large


def _in_whole_blocks(size: tuple[int, int], factor: int) -> tuple[int, int, int, int]:
    """The centre square, and as many whole blocks on both of its sides as there are."""
    edge = min(size)
    starts = [(length - edge) // 2 for length in size]
    blocks = [min(start, length - start - edge) // factor for start, length in zip(starts, size, strict=True)]
    left, top = (start - n * factor for start, n in zip(starts, blocks, strict=True))
    inside = edge // factor * factor
    return left, top, left + inside + 2 * blocks[0] * factor, top + inside + 2 * blocks[1] * factor


def _in_strips(
    image: Image.Image, samples: Samples, convert: Converter, box: tuple[int, ...], factor: int
) -> Image.Image:
    left, top, right, bottom = box
    rows = max(1, STRIP_PIXELS // (right - left) // factor) * factor
    if box == (0, 0, *image.size) and factor == 1 and rows >= image.height:
        return convert(_flatten(to_bytes(image, samples)))
    found = Image.new("RGB", ((right - left) // factor, (bottom - top) // factor))
    for start in range(top, bottom, rows):
        strip = image.crop((left, start, right, min(bottom, start + rows)))
        found.paste(convert(_flatten(to_bytes(strip, samples)).reduce(factor)), (0, (start - top) // factor))
    return found


def _flatten(image: Image.Image) -> Image.Image:
    """Without opacity, over white, and in a mode that has a colour space of its own."""
    base = _base_mode(image.mode)
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == base else image.convert("RGB").convert(base)


def _base_mode(mode: str) -> str:
    if mode in _GREY:
        return "L"
    return mode if mode in {"CMYK", "LAB"} else "RGB"
