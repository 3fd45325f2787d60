"""Pictures that show no skin, for a gate to refuse: squares of any pictures, things on any ground, drawn pages.

Half of the squares and a quarter of the things are tinted like skin, so that a gate learns shapes as well as colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from training.data.dataset import upright
from training.data.photo import readable
from training.gate.degraded import square

SQUARES, GROUNDS = 42, 4
"""Of each picture, and of each cut-out thing."""
PAGES = 500
LARGEST = 2400  # pixels along an edge; larger pictures are scaled down
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_WORDS = ("the", "skin", "of", "a", "page", "shows", "lines", "which", "nobody", "takes", "for", "moles", "0123456789")
Pixels = NDArray[np.uint8]


def opened(folder: Path, least: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """Pictures under `folder` whose edges have at least `least` pixels, RGB, and the cut-out things there, RGBA.

    A thing is a picture whose corners are all transparent.
    """
    pictures, things = [], []
    for path in files(folder):
        with readable(path), Image.open(path) as image:
            if _is_cut_out(image):
                things.append(image.convert("RGBA"))
                continue
        picture = upright(path, LARGEST // 4)
        picture.thumbnail((LARGEST, LARGEST))
        if min(picture.size) >= least:
            pictures.append(picture)
    return pictures, things


def files(folder: Path) -> list[Path]:
    """The pictures under `folder`, in the order in which they are opened."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def _is_cut_out(image: Image.Image) -> bool:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return False
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    return not alpha[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def squares(pictures: Sequence[Image.Image], rng: np.random.Generator, side: int) -> Iterator[Pixels]:
    """Squares of every size and place, every second tinted."""
    for picture in pictures:
        for number in range(SQUARES):
            found = np.asarray(_square_of(picture, rng, side))
            yield tinted(found, rng) if number % 2 else found


def _square_of(picture: Image.Image, rng: np.random.Generator, side: int) -> Image.Image:
    size = float(np.exp(rng.uniform(np.log(side), np.log(min(picture.size)))))
    left, top = rng.uniform(0, picture.width - size), rng.uniform(0, picture.height - size)
    return square(picture, side, (left, top, left + size, top + size))


def on_grounds(
    things: Sequence[Image.Image], pictures: Sequence[Image.Image], rng: np.random.Generator, side: int
) -> Iterator[Pixels]:
    """Each thing, turned and scaled, before white, a colour, the colour of skin, or a square of a picture."""
    for thing in things:
        for number in range(GROUNDS):
            ground = _ground(pictures, rng, side)
            scale = side * rng.uniform(0.35, 1.3) / max(thing.size)
            size = (max(2, int(thing.width * scale)), max(2, int(thing.height * scale)))
            turned = thing.resize(size, Image.Resampling.BICUBIC).rotate(float(rng.uniform(-30, 30)), expand=True)
            left, top = (int((side - edge) / 2 + rng.normal(0, 0.08 * side)) for edge in turned.size)
            ground.paste(turned, (left, top), turned)
            yield tinted(np.asarray(ground), rng) if number == GROUNDS - 1 else np.asarray(ground)


def _ground(pictures: Sequence[Image.Image], rng: np.random.Generator, side: int) -> Image.Image:
    chosen = int(rng.integers(4 if pictures else 3))
    if chosen == 3:
        return _square_of(pictures[int(rng.integers(len(pictures)))], rng, side)
    if chosen == 2:
        return _skin(rng, side)
    return Image.new("RGB", (side, side), (255, 255, 255) if chosen else _colour(rng))


def _skin(rng: np.random.Generator, side: int) -> Image.Image:
    """A colour that skin may have, a little uneven."""
    colour = np.sort([rng.uniform(120, 245), rng.uniform(80, 200), rng.uniform(60, 185)])[::-1]
    y, x = np.mgrid[0:side, 0:side] / side
    slope = x * rng.normal(0, 15) + y * rng.normal(0, 15)
    coarse = Image.fromarray(rng.normal(0, 6, (side // 5, side // 5)).astype(np.float32))
    uneven = slope + np.asarray(coarse.resize((side, side)))
    return Image.fromarray(np.clip(colour + uneven[..., None], 0, 255).astype(np.uint8))


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def tinted(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A picture, ``(side, side, 3) uint8``, by 30 to 100 % in the colours of skin."""
    grey = pixels.mean(2, keepdims=True)
    skin = np.array([rng.uniform(170, 240), rng.uniform(110, 190), rng.uniform(90, 180)])
    share = rng.uniform(0.3, 1)
    coloured = np.clip(grey / max(float(grey.mean()), 50.0) * skin * 0.9, 0, 255)
    found: Pixels = np.clip((1 - share) * pixels + share * coloured, 0, 255).astype(np.uint8)
    return found


def pages(rng: np.random.Generator, side: int) -> Iterator[Pixels]:
    """Text and boxes as on screens, signs and paper, some in the colour of skin, some blurred."""
    for _ in range(PAGES):
        paper = _paper(rng)
        ink = (255 - paper[0], 255 - paper[1], 255 - paper[2]) if rng.random() < 0.6 else _colour(rng)
        page = Image.new("RGB", (2 * side, 2 * side), paper)
        _write(ImageDraw.Draw(page), rng, 2 * side, ink)
        page = page.rotate(float(rng.normal(0, 8)), fillcolor=paper)
        if rng.random() < 0.4:
            page = page.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.5))))
        small = np.asarray(page.resize((side, side), Image.Resampling.BICUBIC))
        yield np.clip(small + rng.normal(0, rng.uniform(0, 6), small.shape), 0, 255).astype(np.uint8)


def _paper(rng: np.random.Generator) -> tuple[int, int, int]:
    if rng.random() < 0.25:
        red, green, blue = (int(value) for value in np.asarray(_skin(rng, 10))[0, 0])
        return red, green, blue
    return _colour(rng, 200, 256) if rng.random() < 0.7 else _colour(rng, 0, 80)


def _write(page: ImageDraw.ImageDraw, rng: np.random.Generator, side: int, ink: tuple[int, int, int]) -> None:
    for _ in range(int(rng.integers(0, 5))):
        left, top = rng.uniform(-0.2, 0.8, 2) * side
        width, height = rng.uniform(0.07, 0.8) * side, rng.uniform(0.03, 0.4) * side
        page.rectangle((left, top, left + width, top + height), fill=_colour(rng))
    size, line = int(rng.integers(9, 46)), float(rng.uniform(-20, 20))
    font = ImageFont.load_default(size)
    while line < side:
        page.text((rng.uniform(-30, 40), line), " ".join(rng.choice(_WORDS, 8)), fill=ink, font=font)
        line += size * float(rng.uniform(1.1, 2))
