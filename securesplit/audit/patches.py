"""Feature maps as patches: what a convolutional decoder sees, for closed forms and small networks.

A map ``(h, w, c)`` is read cell by cell: the cell's 3×3 neighbourhood, the map's mean and the cell's place predict the
``p × p`` pixels that lie under it, with the same weights everywhere.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.audit.metrics import Photos
from securesplit.audit.setting import Releases


def resize(photos: Photos, side: int) -> Photos:
    """``(n, s, s, 3)`` -> ``(n, side, side, 3)``, antialiased, channel by channel in float32."""
    if photos.shape[1] == side:
        return photos
    resized = np.empty((len(photos), side, side, photos.shape[-1]), np.float32)
    for photo, small in zip(photos, resized, strict=True):
        for c in range(photo.shape[-1]):
            small[..., c] = _resize_plane(photo[..., c], side)
    return np.clip(resized, 0.0, 1.0, out=resized)


def _resize_plane(plane: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32)


def area_weights(edge: int, cells: int) -> NDArray[np.float32]:
    """``(cells, edge)``: each cell the mean of the places that it covers, in part or whole."""
    starts = np.arange(cells)[:, None] * edge / cells
    places = np.arange(edge)[None]
    covered = np.clip(np.minimum(places + 1, starts + edge / cells) - np.maximum(places, starts), 0, None)
    return np.asarray(covered / covered.sum(1, keepdims=True), np.float32)


def patch_side(cells: int, side: int) -> int:
    """Pixels along the edge of the patch under one cell."""
    return max(1, math.ceil(side / cells))


def cell_features(maps: Releases) -> NDArray[np.float32]:
    """``(n, h, w, c)`` -> ``(n, h, w, 10 c + 5)``: 3×3 neighbourhood, mean of the map, place."""
    n, h, w, _ = maps.shape
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    around = [padded[:, dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
    mean = np.broadcast_to(maps.mean((1, 2), keepdims=True), maps.shape)
    y, x = np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij")
    place = np.broadcast_to(np.stack([x, y, x * x, y * y, x * y], -1), (n, h, w, 5))
    return np.concatenate([*around, mean, place], -1, dtype=np.float32)


def to_patches(photos: Photos, cells: int) -> NDArray[np.float32]:
    """``(n, side, side, 3)`` -> ``(n, cells, cells, p p 3)``."""
    p = patch_side(cells, photos.shape[1])
    fitted = resize(photos, cells * p)
    split = fitted.reshape(len(photos), cells, p, cells, p, 3).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(len(photos), cells, cells, p * p * 3)


def from_patches(patches: NDArray[np.float32], side: int) -> Photos:
    """The inverse of `to_patches`, scaled back to `side`."""
    n, cells = patches.shape[:2]
    p = math.isqrt(patches.shape[-1] // 3)
    joined = patches.reshape(n, cells, cells, p, p, 3).transpose(0, 1, 3, 2, 4, 5)
    return resize(np.clip(joined.reshape(n, cells * p, cells * p, 3), 0, 1).astype(np.float32), side)
