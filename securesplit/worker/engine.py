"""What a tail process runs: releases of one preset in, logits out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """Computes batches; built once a process, used from one thread."""

    def warm_up(self) -> None:
        """Run once on every kind of input, so that the first request pays for nothing."""

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, *shape)`` integers of one preset -> ``(n,)`` logits of malignant."""


class LiteRTEngine:
    """The tail of a bundle on LiteRT.

    Args:
        bundle: folder of the bundle.
        threads: CPU threads; one, since a worker runs one tail a core.

    Raises:
        BundleError: it has no tail, or was altered.
    """

    def __init__(self, bundle: str, threads: int = 1) -> None:
        from securesplit.model.bundle import Bundle

        loaded = Bundle.load(Path(bundle))
        self._specs = [preset.spec for preset in loaded.presets.values() if not preset.spec.encrypted]
        self._tail = loaded.open_tail(threads)

    def warm_up(self) -> None:
        """Run each preset once."""
        for spec in self._specs:
            self._tail(spec.preset, np.zeros((1, *spec.shape), spec.dtype))

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, *shape)`` integers of one preset -> ``(n,)`` logits of malignant."""
        return self._tail(preset, releases)
