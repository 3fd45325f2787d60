"""Draw a mole: skin with texture and light, and a pigmented lesion with a ragged border.

For the demo and for tests on machines without photos. It looks like dermoscopy at a glance and is no medical image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_SKIN_RGB = np.array([222.0, 178.0, 160.0])
_PIGMENT_RGB = np.array([92.0, 58.0, 46.0])


def draw_lesion(seed: int, side: int = 450) -> NDArray[np.uint8]:
    """One synthetic photo, the same for the same seed, ``(side, side, 3) uint8`` RGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    skin = _SKIN_RGB + rng.normal(0, 8, 3)
    pigment = _PIGMENT_RGB + rng.normal(0, 14, 3)
    light = 1.0 + 0.25 * (x * rng.normal() + y * rng.normal())
    texture = 14 * _smooth_noise(rng, side, 6) + 6 * _smooth_noise(rng, side, 60)
    mask = _lesion_mask(rng, x - rng.uniform(-0.08, 0.08), y - rng.uniform(-0.08, 0.08))
    mottling = 1.0 + 0.35 * _smooth_noise(rng, side, 12) + 0.15 * _smooth_noise(rng, side, 40)
    lesion = pigment * mottling[..., None]
    photo = skin + texture[..., None]
    photo = photo * (1 - mask[..., None]) + lesion * mask[..., None]
    pixels = (photo * light[..., None]).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(side / 400)), np.uint8)


def _lesion_mask(rng: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Opacity of the lesion, 0..1: an ellipse whose radius wavers with the angle, soft at its border."""
    radius, stretch, turn = rng.uniform(0.12, 0.3), rng.uniform(0.7, 1.0), rng.uniform(0, np.pi)
    u = x * np.cos(turn) + y * np.sin(turn)
    v = (y * np.cos(turn) - x * np.sin(turn)) / stretch
    angle = np.arctan2(v, u)
    border = np.full_like(angle, radius)
    for harmonic in range(2, 9):
        border += radius * rng.normal(0, 0.12 / harmonic) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    softness = rng.uniform(0.01, 0.03)
    return np.asarray(0.92 / (1.0 + np.exp((np.hypot(u, v) - border) / softness)))


def _smooth_noise(rng: np.random.Generator, side: int, cells: int) -> NDArray[np.float64]:
    """Noise of unit size with about `cells` blobs along an edge, ``(side, side)``."""
    coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32), mode=None)
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float64)
