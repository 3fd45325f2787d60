"""What a tail process runs: releases of one preset in, logits out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError

if TYPE_CHECKING:
    from securesplit.model.bundle import Bundle


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
        identity: as `served_bundle` has it.

    Raises:
        BundleError: it has no tail, was altered, or is another one than the front serves.
    """

    def __init__(self, bundle: str, threads: int = 1, identity: str | None = None) -> None:
        loaded = served_bundle(bundle, identity)
        self._specs = list(loaded.manifest.in_the_open.values())
        self._tail = loaded.open_tail(threads)

    def warm_up(self) -> None:
        """Run each preset once."""
        for spec in self._specs:
            self._tail(spec.preset, np.zeros((1, *spec.shape), spec.dtype))

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, *shape)`` integers of one preset -> ``(n,)`` logits of malignant."""
        return self._tail(preset, releases)


def served_bundle(folder: str, identity: str | None) -> Bundle:
    """The bundle that a front serves, as its folder holds it now.

    A front reads it once and tells clients its identity; a tail that starts later must not answer for another one.

    Args:
        folder: of the bundle.
        identity: ``sha256:<hex>`` that the front has told; None for any.

    Raises:
        BundleError: there is none, its manifest is damaged, or it is another one by now.
    """
    from securesplit.model.bundle import Bundle

    bundle = Bundle.load(Path(folder))
    if identity is not None and bundle.id != identity:
        message = f"the bundle in {folder} was replaced: it is {bundle.id}, and this worker serves {identity}"
        raise BundleError(message, hint="restart the worker; give a new bundle a folder of its own")
    return bundle
