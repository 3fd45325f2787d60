"""Drawn textures: pictures that no camera took, for a gate to refuse. The same seed draws the same picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FAMILIES = 12
UNSEEN = (3, 7, 10)
"""Families that no gate is fitted on, so that drawn textures of another kind are measured too."""
Plot = NDArray[np.float64]
_SKIN = ((222, 178, 160), (150, 100, 75), (240, 200, 180))


def draw_texture(seed: int, side: int) -> NDArray[np.uint8]:
    """One picture of family ``seed % FAMILIES``, ``(side, side, 3) uint8``."""
    rng = np.random.default_rng(seed)
    family = seed % FAMILIES
    if family == 0:  # noise
        return rng.integers(0, 256, (side, side, 3), np.uint8)
    y, x = np.mgrid[0:side, 0:side] / side
    angle = rng.uniform(0, 2 * np.pi)
    turned = Plane(x, y, x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle))
    pattern = _PATTERNS[family - 1](rng, turned)
    first, second = _colours(rng)
    pixels = first + (second - first) * pattern[..., None]
    return (pixels + rng.normal(0, rng.uniform(0, 8), pixels.shape)).clip(0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> tuple[Plot, Plot]:
    """Any two colours; in a third of the pictures one is skin's."""
    first, second = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    if rng.random() < 1 / 3:
        first = np.array(_SKIN[int(rng.integers(3))]) + rng.normal(0, 10, 3)
    return first, second


@dataclass(frozen=True)
class Plane:
    """Where each pixel lies, ``(side, side)`` each: `x` and `y` in 0..1, and the same turned by some angle."""

    x: Plot
    y: Plot
    along: Plot
    across: Plot


def _stripes(rng: np.random.Generator, plane: Plane) -> Plot:
    wave = np.sin(2 * np.pi * rng.uniform(2, 30) * plane.along)
    return np.asarray(wave > rng.uniform(-0.5, 0.5), np.float64)


def _chessboard(rng: np.random.Generator, plane: Plane) -> Plot:
    n = int(rng.integers(2, 20))
    return np.asarray(((plane.x * n).astype(int) + (plane.y * n).astype(int)) % 2, np.float64)


def _waves(rng: np.random.Generator, plane: Plane) -> Plot:
    sums = np.sin(rng.uniform(5, 60) * plane.along) + np.sin(rng.uniform(5, 60) * plane.across)
    return np.asarray(0.5 + 0.25 * sums)


def _gradient(_rng: np.random.Generator, plane: Plane) -> Plot:
    return _unit(plane.along)


def _clouds(rng: np.random.Generator, plane: Plane) -> Plot:
    return _unit(_smooth(rng, len(plane.x), int(rng.integers(3, 40))))


def _rings(rng: np.random.Generator, plane: Plane) -> Plot:
    cx, cy = rng.random(2)
    return np.asarray(0.5 + 0.5 * np.sin(rng.uniform(20, 150) * np.hypot(plane.x - cx, plane.y - cy)))


def _lines(rng: np.random.Generator, plane: Plane) -> Plot:
    n, width = rng.uniform(3, 20), rng.uniform(0.05, 0.3)
    return np.asarray(((plane.along * n) % 1 < width) | ((plane.across * n) % 1 < width), np.float64)


def _cells(rng: np.random.Generator, plane: Plane) -> Plot:
    points = rng.random((int(rng.integers(5, 60)), 2))
    distances = np.hypot(plane.x[..., None] - points[:, 0], plane.y[..., None] - points[:, 1])
    return np.asarray(rng.random(len(points))[distances.argmin(-1)])


def _wood(rng: np.random.Generator, plane: Plane) -> Plot:
    frequency = rng.uniform(20, 90)
    return np.asarray(0.5 + 0.5 * np.sin(frequency * (plane.along + 0.05 * _smooth(rng, len(plane.x), 6))))


def _one_colour(_rng: np.random.Generator, plane: Plane) -> Plot:
    return np.zeros_like(plane.x)


def _discs(rng: np.random.Generator, plane: Plane) -> Plot:
    pattern = np.zeros_like(plane.x)
    for _ in range(int(rng.integers(3, 40))):
        cx, cy = rng.random(2)
        share = rng.random()
        pattern[np.hypot(plane.x - cx, plane.y - cy) < rng.uniform(0.02, 0.2)] = share
    return pattern


def _smooth(rng: np.random.Generator, side: int, cells: int) -> Plot:
    coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float64)


def _unit(values: Plot) -> Plot:
    span = float(np.ptp(values))
    return (values - values.min()) / span if span else np.zeros_like(values)


_PATTERNS = (
    *(_stripes, _chessboard, _waves, _gradient, _clouds, _discs, _rings, _lines, _cells, _wood),
    _one_colour,
)
"""A random generator and a plane -> shares of the second colour, ``(side, side)`` in 0..1; family 0 is noise."""
