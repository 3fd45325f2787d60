"""One picture of a journey: the photo, what left the device, what the wire carried, what the worker could make of it.

Its words are English in every language: the font that Pillow brings has Latin letters only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from securesplit.model.attack_decoder import AttackFigures, Rebuilt
from securesplit.privacy.release import ReleaseSpec

PANEL = 300  # pixels, edge of a panel
MARGIN = 24  # pixels
TEXT = 76  # pixels of caption under a panel
TITLE, SMALL, TINY = 18, 14, 12  # pixels, of letters
INK, GREY, PALE = (27, 27, 27), (90, 90, 90), (225, 225, 225)
SENT = (33, 102, 172)
DARKEST, LIGHTEST = 20, 235  # greys of the smallest and the largest value of a map; the gaps between are white
MAX_WRITTEN = 36
"""Up to so many numbers are written out."""


@dataclass(frozen=True)
class Panel:
    """A square with words under it.

    Attributes:
        image: of any size.
        title: one line.
        caption: at most two lines.
        smooth: whether it is a picture that may be interpolated, not cells.
    """

    image: Image.Image
    title: str
    caption: str
    smooth: bool = False


def journey_picture(
    pixels: NDArray[np.uint8], release: NDArray[Any], spec: ReleaseSpec, wire: bytes, rebuilt: Rebuilt | None
) -> Image.Image:
    """Three panels of the journey, and under them what the worker could make of the release.

    Args:
        pixels: the photo as the head saw it, ``(h, w, 3) uint8``.
        release: the integers that left, any shape; of a preset that is encrypted the bytes of the ciphertext.
        spec: of the preset that was used.
        wire: the request as the wire carried it.
        rebuilt: by the bundle's attack decoder; None where it has none, then there is one row.
    """
    rows = [[_photo(pixels), _release(release, spec), _wire(wire)]]
    if rebuilt is not None:
        rows.append([*_attack(rebuilt), _verdict(rebuilt.figures)])
    width, height = PANEL + MARGIN, PANEL + MARGIN + TEXT
    picture = Image.new("RGB", (3 * width + MARGIN, len(rows) * height + MARGIN), "white")
    for down, row in enumerate(rows):
        for across, panel in enumerate(row):
            _put(picture, panel, (MARGIN + across * width, MARGIN + down * height))
    return picture


def _put(picture: Image.Image, panel: Panel, at: tuple[int, int]) -> None:
    draw, (left, top) = ImageDraw.Draw(picture), at
    kind = Image.Resampling.BICUBIC if panel.smooth else Image.Resampling.NEAREST
    picture.paste(panel.image.convert("RGB").resize((PANEL, PANEL), kind), at)
    draw.rectangle((left - 1, top - 1, left + PANEL, top + PANEL), outline=PALE)
    draw.text((left, top + PANEL + 8), panel.title, INK, ImageFont.load_default(TITLE))
    draw.multiline_text((left, top + PANEL + 34), panel.caption, GREY, ImageFont.load_default(SMALL), spacing=3)


def _photo(pixels: NDArray[np.uint8]) -> Panel:
    return Panel(Image.fromarray(pixels), "The photo", "stays on this device", smooth=True)


def _release(release: NDArray[Any], spec: ReleaseSpec) -> Panel:
    """Few numbers are written out, a single one on the scale of its levels; a map is a sheet of its channels."""
    title = f"What left: {release.size:,} {'integer' if release.size == 1 else 'integers'}"
    size = f"preset {spec.preset}: {release.nbytes:,} {'byte' if release.nbytes == 1 else 'bytes'}, then sealed"
    if spec.encrypted:
        words = f"preset {spec.preset}: {spec.size} numbers in a ciphertext\nthat this device alone can decrypt"
        return Panel(_grey(_square(release)), f"What left: {release.size:,} bytes", words)
    if release.size == 1:
        return Panel(_scale(int(release.item()), spec), title, size)
    if release.size <= MAX_WRITTEN:
        return Panel(_written(release), title, size)
    span = f"dark is {release.min()}, light is {release.max()}, white is nothing"
    return Panel(_grey(_tiles(release)), title, f"{size};\n{span}")


def _wire(wire: bytes) -> Panel:
    title = f"The wire: {len(wire):,} bytes"
    return Panel(_grey(_square(np.frombuffer(wire, np.uint8))), title, "AES-256-GCM; all that a tapper sees")


def _attack(rebuilt: Rebuilt) -> list[Panel]:
    made = Panel(
        Image.fromarray(rebuilt.picture),
        "What an attack makes of it",
        "the worker's best guess at the photo, from the\nrelease and from photos of other people",
        smooth=True,
    )
    guessed = Panel(
        Image.fromarray(rebuilt.class_mean),
        "A guess without the release",
        "the mean of other people's photos that got the\nsame answer",
        smooth=True,
    )
    return [made, guessed]


def _verdict(figures: AttackFigures | None) -> Panel:
    """Where this attack stands between the guess (0) and the photo itself (1)."""
    image = Image.new("RGB", (PANEL, PANEL), "white")
    draw = ImageDraw.Draw(image)
    if figures is None:
        words = "The attack learned with the preset's\nown noise; with this noise nothing\nwas measured."
        draw.multiline_text((16, 16), words, INK, ImageFont.load_default(TINY + 4), spacing=6)
        return Panel(image, "What the attack gets", "")
    draw.text((PANEL // 2, 70), f"{100 * max(figures.skill, 0):.0f} %", INK, ImageFont.load_default(72), "mm")
    draw.text((PANEL // 2, 130), "of the way from guess to photo", GREY, ImageFont.load_default(SMALL), "mm")
    _bar(draw, figures)
    low, high = (100 * max(value, 0.0) for value in (figures.skill_low, figures.skill_high))
    measured = f"mean over {figures.photos:,} photos that it never saw"
    return Panel(
        image, "What the attack gets", f"{measured}\n(95 % interval {low:.1f} to {high:.1f} %; attack {figures.attack})"
    )


def _bar(draw: ImageDraw.ImageDraw, figures: AttackFigures) -> None:
    left, right, top, bottom = 24, PANEL - 24, 180, 204
    at = left + (right - left) * min(max(figures.skill, 0.0), 1.0)
    draw.rectangle((left, top, right, bottom), PALE)
    draw.rectangle((left, top, at, bottom), SENT)
    font = ImageFont.load_default(SMALL)
    draw.text((left, bottom + 8), "the guess", GREY, font)
    draw.text((right, bottom + 8), "the photo", GREY, font, "ra")


def _scale(value: int, spec: ReleaseSpec) -> Image.Image:
    """One integer, large, over the values that it could have had: levels of the head, and what noise adds to them."""
    image = Image.new("RGB", (PANEL, PANEL), "white")
    draw = ImageDraw.Draw(image)
    draw.text((PANEL // 2, 110), str(value), SENT, ImageFont.load_default(130), "mm")
    if spec.levels is None:
        return image
    lowest, highest = spec.levels
    shown = range(min(value, lowest), max(value, highest) + 1)
    if len(shown) > 12:
        draw.text(
            (PANEL // 2, 240),
            f"noise on one of {highest - lowest + 1} levels",
            GREY,
            ImageFont.load_default(SMALL),
            "mm",
        )
        return image
    edge = min(40, (PANEL - 32) // len(shown))
    left = (PANEL - edge * len(shown)) // 2
    for at, level in enumerate(shown):
        box = (left + at * edge + 2, 216, left + (at + 1) * edge - 2, 212 + edge)
        draw.rectangle(box, SENT if level == value else None, PALE if lowest <= level <= highest else None)
        colour = "white" if level == value else GREY
        draw.text(
            ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), str(level), colour, ImageFont.load_default(SMALL), "mm"
        )
    words = f"one of {highest - lowest + 1} levels, then noise"
    draw.text((PANEL // 2, 272), words, GREY, ImageFont.load_default(SMALL), "mm")
    return image


def _written(release: NDArray[Any]) -> Image.Image:
    """A few numbers as a square of them."""
    across = math.ceil(math.sqrt(release.size))
    cell = PANEL // across
    image = Image.new("RGB", (PANEL, PANEL), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(min(40, cell // 3))
    for at, value in enumerate(release.ravel().tolist()):
        middle = (at % across * cell + cell // 2, at // across * cell + cell // 2)
        draw.text(middle, str(value), SENT, font, "mm")
    return image


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
    """Smallest value dark, largest light, nothing at all white."""
    low, high = np.nanmin(values), np.nanmax(values)
    scaled = DARKEST + (values - low) / max(high - low, 1e-9) * (LIGHTEST - DARKEST)
    return Image.fromarray(np.nan_to_num(scaled, nan=255).astype(np.uint8))
