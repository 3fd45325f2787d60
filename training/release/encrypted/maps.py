"""What the deployed head makes of photos, and what the undefended network answers: what the preset learns from.

Computed once a view and kept on disk, each file named after everything that its contents depend on, so that whoever is
interrupted goes on with the view that was not finished.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from securesplit.model import Bundle
from securesplit.model.encrypted_preset import CUT_PRESET
from securesplit.privacy.release import saturate, to_grid
from training.data.dataset import Split, centre_square
from training.network.augmentation import Views
from training.output import write_arrays

RECIPE = "dermoscopy"
"""Of the random views (`training.network.augmentation`)."""
BATCH = 64


@dataclass(frozen=True)
class Maps:
    """Views of photos; row ``view * photos + photo`` of every array.

    Attributes:
        maps: ``(n, h, w, c) float16``, as the head gives them.
        logits: ``(n,) float32``, the deployed answers of preset ``none``.
        malignant: ``(n,) float32`` labels.
    """

    maps: NDArray[np.float16]
    logits: NDArray[np.float32]
    malignant: NDArray[np.float32]

    @classmethod
    def of(cls, bundle: Bundle, split: Split, cache: Path, *, views: int, seed: int) -> Self:
        """The centre squares, as a device sees them, and so many random views; from `cache` where they are there.

        Args:
            bundle: with both halves.
            split: the photos.
            cache: folder for the files.
            views: random ones, beside the centre square.
            seed: of the random views.
        """
        parts = [_view(bundle, split, cache, view, seed) for view in range(views + 1)]
        maps, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(maps, logits, np.tile(split.malignant, views + 1))

    @property
    def digest(self) -> str:
        """SHA-256 of everything."""
        found = hashlib.sha256()
        for part in (self.maps, self.logits, self.malignant):
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()


def _view(
    bundle: Bundle, split: Split, cache: Path, view: int, seed: int
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    file = view_file(bundle, split, cache, view, seed)
    if not file.is_file():
        print(f"head: view {view + 1} of {len(split.photos)} photos", flush=True)
        maps, logits = _computed(bundle, split, view, seed)
        write_arrays(file, {"maps": maps, "logits": logits})
    with np.load(file, allow_pickle=False) as stored:
        return stored["maps"], stored["logits"]


def view_file(bundle: Bundle, split: Split, cache: Path, view: int, seed: int) -> Path:
    """Where a view of these photos lies; view 0 is the centre square, whatever the seed."""
    digest = hashlib.sha256(f"{bundle.manifest.head_sha256} {bundle.manifest.tail_sha256}".encode())
    digest.update(f"{split.pixels.shape} {f'{RECIPE} {view} {seed}' if view else 'centre'}".encode())
    digest.update(np.ascontiguousarray(split.pixels).tobytes())
    return cache / f"{digest.hexdigest()[:16]}-maps.npz"


def _computed(bundle: Bundle, split: Split, view: int, seed: int) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    head, tail, spec = bundle.open_head(1, CUT_PRESET), bundle.open_tail(1), bundle.presets[CUT_PRESET].spec
    drawn = Views(RECIPE, 1.0, split.pixels.shape[1:3], bundle.manifest.side, seed + view)
    maps, logits = [], []
    for first in range(0, len(split.pixels), BATCH):
        frames = split.pixels[first : first + BATCH]
        squares = np.asarray(drawn.fit(drawn.square(frames.astype(np.float32)))) if view else centre_square(frames)
        for square in squares:
            cut = head(square)[CUT_PRESET]
            maps.append(cut.astype(np.float16))
            logits.append(float(tail(CUT_PRESET, saturate(to_grid(cut, spec), spec)[None])[0]))
    return np.stack(maps), np.array(logits, np.float32)
