"""An own release mechanism: what a researcher puts in the place of the noise.

A mechanism is a map from the clipped integers of a preset to the integers that travel, with randomness of its own. The
preset's head computes what it is given and the preset's tail reads what it gives, so its release has the preset's shape
and dtype. Nothing about it is proven here: it is accounted like a release without noise, until the audit has measured
it (ADR 089).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import ConfigError
from securesplit.privacy.release import Draw, ReleaseSpec

__all__ = ["Draw", "Mechanism", "ReleaseFunction"]


class ReleaseFunction(Protocol):
    """What a mechanism does."""

    def __call__(self, grid: NDArray[np.int64], spec: ReleaseSpec, draw: Draw) -> NDArray[np.integer]:
        """Release one photo.

        Args:
            grid: ``spec.shape``, clipped and truncated integers; a copy that may be changed.
            spec: the preset's contract, without its noise.
            draw: the only source of randomness that keeps "same photo, same release".

        Returns:
            ``spec.shape`` integers; saturated to ``spec.dtype`` afterwards.
        """


@dataclass(frozen=True)
class Mechanism:
    """An own release mechanism, as an entry point of the group ``securesplit.releases`` names it.

    Args:
        release: what it does.
        preset: whose head output, grid, tail, calibration and threshold it uses.
        name: by which it is chosen, the entry point's; set when it is found.
        version: of the package that it comes from; set likewise.
    """

    release: ReleaseFunction
    preset: str = "certified"
    name: str = ""
    version: str = ""

    def __call__(self, grid: NDArray[np.int64], spec: ReleaseSpec, draw: Draw) -> NDArray[np.int64]:
        """What it releases for the grid, checked.

        Raises:
            ConfigError: it fails, or gives something else than integers of the preset's shape.
        """
        try:
            found: Any = np.asarray(self.release(grid.copy(), spec, draw))
        except (Exception, SystemExit) as error:
            raise self._broken(f"failed ({type(error).__name__}: {str(error).strip()[:200]})") from error
        if found.shape != spec.shape or not np.issubdtype(found.dtype, np.integer):
            raise self._broken(f"gave {found.dtype} {found.shape}, not integers of shape {spec.shape}")
        if not np.can_cast(found.dtype, np.int64):  # of unsigned ones, which NumPy would wrap
            found = np.minimum(found, np.iinfo(np.int64).max)
        grid_released: NDArray[np.int64] = found.astype(np.int64)
        return grid_released

    def _broken(self, what: str) -> ConfigError:
        return ConfigError(
            f"the release mechanism {self.name!r} ({self.version}) {what}", hint="fix it, or choose another preset"
        )
