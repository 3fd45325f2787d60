"""One picture of a journey: the photo, what left the device, what the wire carried."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PANEL = 300  # pixels, edge of a panel
MARGIN = 24  # pixels
TEXT = 64  # pixels of caption under a panel
LIGHTEST = 225  # grey of the largest value; the gaps between are white


def journey_picture(pixels: NDArray[np.uint8], release: NDArray[Any], wire: bytes) -> Image.Image:
    """Three panels with captions.

    Args:
        pixels: the photo as the head saw it, ``(h, w, 3) uint8``.
        release: the integers that left, any shape.
        wire: the request as the wire carried it.
    """
    panels = [
        (Image.fromarray(pixels), "The photo", "stays on this device"),
        (
            _grey(_tiles(release)),
            f"The release: {release.size} integers",
            f"{release.nbytes} bytes, sealed before they leave",
        ),
        (
            _grey(_square(np.frombuffer(wire, np.uint8))),
            f"The wire: {len(wire)} bytes",
            "AES-256-GCM; all that a tapper sees",
        ),
    ]
    width = len(panels) * (PANEL + MARGIN) + MARGIN
    picture = Image.new("RGB", (width, PANEL + 2 * MARGIN + TEXT), "white")
    for at, (image, title, caption) in enumerate(panels):
        left = MARGIN + at * (PANEL + MARGIN)
        smooth = Image.Resampling.BICUBIC if at == 0 else Image.Resampling.NEAREST
        picture.paste(image.convert("RGB").resize((PANEL, PANEL), smooth), (left, MARGIN))
        _caption(picture, (left, MARGIN + PANEL + 10), title, caption)
    return picture


def _caption(picture: Image.Image, at: tuple[int, int], title: str, caption: str) -> None:
    draw = ImageDraw.Draw(picture)
    draw.text(at, title, "black", ImageFont.load_default(18))
    draw.text((at[0], at[1] + 26), caption, (90, 90, 90), ImageFont.load_default(14))


def _tiles(release: NDArray[Any]) -> NDArray[np.float64]:
    """A map ``(h, w, c)`` as a square of its channels side by side; a vector as a square of cells."""
    if release.ndim != 3:
        return _square(release.ravel())
    height, width, channels = release.shape
    across = math.ceil(math.sqrt(channels))
    sheet = np.full((across * (height + 1), across * (width + 1)), np.nan)
    for channel in range(channels):
        top, left = channel // across * (height + 1), channel % across * (width + 1)
        sheet[top : top + height, left : left + width] = release[..., channel]
    return sheet[:-1, :-1]


def _square(values: NDArray[Any]) -> NDArray[np.float64]:
    edge = math.ceil(math.sqrt(values.size))
    sheet = np.full(edge * edge, np.nan)
    sheet[: values.size] = values
    return sheet.reshape(edge, edge)


def _grey(values: NDArray[np.float64]) -> Image.Image:
    """Smallest value black, largest light grey, nothing at all white."""
    low, high = np.nanmin(values), np.nanmax(values)
    scaled = (values - low) / max(high - low, 1e-9) * LIGHTEST
    return Image.fromarray(np.nan_to_num(scaled, nan=255).astype(np.uint8))
