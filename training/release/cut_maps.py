"""What a frozen head makes of photos, computed once and kept on disk: for training without an accelerator.

The first view of a photo is its centre square, as a device would show it to the head; the others are drawn from a
recipe of `training.network.augmentation`. Each view has a file, named after everything that its contents depend on, so
that whoever is interrupted goes on with the view that was not finished, and more views cost only those.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.audit.patches import area_weights
from training.data.dataset import centre_square
from training.network.augmentation import Views
from training.output import write_arrays

THUMB = 32
"""Height and width in pixels of the picture beside each map."""
BATCH = 64


@dataclass(frozen=True)
class CutMaps:
    """Views of photos; row ``view * photos + photo`` of every array.

    Attributes:
        maps: ``(views * photos, h, w, c) float16``, the tensor at the cut.
        logits: ``(views * photos,) float32``, of the whole undefended network.
        thumbs: ``(views * photos, 32, 32, 3) float16`` in 0..1, shrunk by area.
    """

    maps: NDArray[np.float16]
    logits: NDArray[np.float32]
    thumbs: NDArray[np.float16]


def cut_maps(
    network: keras.Model, cut: str, pixels: NDArray[np.uint8], cache: Path, *, recipe: str, views: int, seed: int
) -> CutMaps:
    """The maps at layer `cut` of `network` for photos ``(n, h, w, 3)``, from `cache` if they were computed before.

    Args:
        network: with an output ``malignant``.
        cut: name of the last layer on the device.
        pixels: frames as `training.data.dataset.load_split` gives them.
        cache: folder for the files.
        recipe: of `training.network.augmentation.Views`.
        views: random ones, beside the centre square.
        seed: of the first random view, less one.
    """
    content = _digest(network, pixels)
    parts = []
    for view in range(views + 1):
        drawn = f"{recipe} {view} {seed}" if view else "centre"
        named = hashlib.sha256(f"{content} {cut} {drawn}".encode()).hexdigest()[:16]
        file = cache / f"{named}-maps.npz"
        if not file.is_file():
            write_arrays(file, vars(_computed(network, cut, pixels, recipe if view else None, seed + view)))
        with np.load(file, allow_pickle=False) as arrays:
            parts.append([arrays[field.name] for field in fields(CutMaps)])
    return CutMaps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _digest(network: keras.Model, pixels: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(f"{pixels.shape}".encode())
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def _computed(network: keras.Model, cut: str, pixels: NDArray[np.uint8], recipe: str | None, seed: int) -> CutMaps:
    """One view of each photo: drawn by `recipe` and `seed`, or the centre square."""
    both = keras.Model(network.inputs[0], [network.get_layer(cut).output, network.output["malignant"]])
    side = int(network.inputs[0].shape[1])
    drawn = Views(recipe or "none", 1.0, pixels.shape[1:3], side, seed)
    batches = []
    for first in range(0, len(pixels), BATCH):
        frames = pixels[first : first + BATCH]
        squares = drawn.fit(drawn.square(frames.astype(np.float32))) if recipe else centre_square(frames)
        batches.append(_batch(both, np.asarray(squares, np.float32)))
    return CutMaps(*(np.concatenate(part) for part in zip(*batches, strict=True)))


def _batch(both: keras.Model, squares: NDArray[np.float32]) -> tuple[Any, Any, Any]:
    maps, logits = both.predict_on_batch(squares)
    return np.asarray(maps, np.float16), np.asarray(logits, np.float32)[:, 0], thumbs_of(squares).astype(np.float16)


def thumbs_of(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, side, side, 3)`` in 0..255 -> ``(n, 32, 32, 3)`` in 0..1, by area."""
    weights = area_weights(squares.shape[1], THUMB)
    thumbs: NDArray[np.float32] = np.einsum("ih,nhwc,jw->nijc", weights, squares, weights, optimize=True) / 255.0
    return thumbs
