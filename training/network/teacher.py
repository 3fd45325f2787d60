"""Deployed bundles as a teacher: their mean undefended answer on the very view that the student network sees.

LiteRT answers, so a teacher costs about as much as it does on a device, and any bundle can teach
(distillation, Hinton et al. 2015), also several together.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        folders: of the bundles; none: the one that comes with the package.

    Raises:
        BundleError: a bundle cannot be opened, or has no preset ``none``.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._members = [Member(Bundle.load(folder)) for folder in folders or (None,)]
        self.id = " and ".join(member.id for member in self._members)
        self.side = max(member.side for member in self._members)

    def probability(self, squares: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, h, h, 3)`` in 0..255 -> uncalibrated probability of malignant, ``(n, 1)``, the mean of all bundles."""
        photos = np.clip(np.rint(squares), 0, 255).astype(np.uint8)
        logits = np.array([[member.logit(photo) for member in self._members] for photo in photos])
        return np.asarray((1 / (1 + np.exp(-logits))).mean(axis=1, keepdims=True), np.float32)


class Member:
    """One bundle that teaches.

    Raises:
        BundleError: it cannot be opened, or has no preset ``none``.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.id, self.side = bundle.id, bundle.manifest.side
        self._spec = bundle.preset("none").spec
        self._head, self._tail = bundle.open_head(preset="none"), bundle.open_tail()

    def logit(self, photo: NDArray[np.uint8]) -> float:
        """The undefended answer to ``(h, h, 3)``, which is resized where the bundle takes another size."""
        if len(photo) != self.side:
            photo = np.asarray(Image.fromarray(photo).resize((self.side, self.side), Image.Resampling.BILINEAR))
        cut = self._head(photo)["none"]
        return float(self._tail("none", saturate(to_grid(cut, self._spec), self._spec)[None])[0])
