"""A deployed bundle as a teacher: its undefended answer on the very view that the student network sees.

LiteRT answers, so a teacher costs about as much as it does on a device, and any bundle can teach
(distillation, Hinton et al. 2015).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.model import Bundle
from securesplit.privacy.release import saturate, to_grid


class Teacher:
    """Answers for views of photos.

    Args:
        folder: of the bundle; None: the one that comes with the package.
        threads: CPU threads of either half.

    Raises:
        BundleError: the bundle cannot be opened, or has no preset ``none``.
    """

    def __init__(self, folder: Path | None = None, threads: int = 2) -> None:
        bundle = Bundle.load(folder)
        self.id, self.side = bundle.id, bundle.manifest.side
        self._spec = bundle.preset("none").spec
        self._head, self._tail = bundle.open_head(threads), bundle.open_tail(threads)

    def probability(self, squares: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, h, h, 3)`` in 0..255 -> uncalibrated probability of malignant, ``(n, 1)``."""
        photos = np.clip(np.rint(squares), 0, 255).astype(np.uint8)
        logits = [self._logit(photo) for photo in photos]
        return np.array([[1 / (1 + np.exp(-logit))] for logit in logits], np.float32)

    def _logit(self, photo: NDArray[np.uint8]) -> float:
        if len(photo) != self.side:
            photo = np.asarray(Image.fromarray(photo).resize((self.side, self.side), Image.Resampling.BILINEAR))
        cut = self._head(photo)["none"]
        return float(self._tail("none", saturate(to_grid(cut, self._spec), self._spec)[None])[0])
