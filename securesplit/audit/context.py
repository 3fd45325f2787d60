"""What every step of an audit works on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from securesplit import plugins
from securesplit.audit import metrics, patches
from securesplit.audit.metrics import Photos
from securesplit.audit.observations import Observations
from securesplit.audit.photos import Collection
from securesplit.audit.profile import AuditProfile
from securesplit.audit.setting import AttackerKnowledge, Reconstruction
from securesplit.model import Bundle

T = TypeVar("T")
RESIZED_AT_ONCE = 64
"""Photos: in float64, as many as an attacker has would take gigabytes."""
ORIGINALS = 300
"""Photos among which a reconstruction should find its own, where there are so many."""


def as_photos(pixels: NDArray[np.uint8], side: int) -> Photos:
    """``(n, s, s, 3) uint8`` -> ``(n, side, side, 3)`` in [0, 1]."""
    parts = (pixels[at : at + RESIZED_AT_ONCE] for at in range(0, len(pixels), RESIZED_AT_ONCE))
    return np.concatenate([patches.resize((part / 255).astype(np.float32), side) for part in parts])


@dataclass(frozen=True)
class OwnAttack:
    """An attack that a package brings.

    Args:
        name: by which it was chosen; its column in the report.
        source: package and version.
        reconstruct: the attack.
    """

    name: str
    source: str
    reconstruct: Reconstruction

    @classmethod
    def named(cls, name: str) -> OwnAttack:
        """The installed attack of that name.

        Raises:
            ConfigError: there is none, or it cannot be loaded.
        """
        plugin, reconstruct = plugins.attack(name)
        return cls(name, f"{plugin.package} {plugin.version}", reconstruct)


@dataclass(frozen=True)
class AuditContext:
    """An audit under way.

    Args:
        bundle: what is audited.
        collection: on which photos.
        observations: by preset of the bundle, what it shows of them.
        presets: which of them are attacked.
        profile: how much is done.
        pictures: folder for rebuilt photos.
        seconds: what its preparation took.
        own_attacks: that are run beside the audit's.
    """

    bundle: Bundle
    collection: Collection
    observations: dict[str, Observations]
    presets: tuple[str, ...]
    profile: AuditProfile
    pictures: Path
    seconds: float
    own_attacks: tuple[OwnAttack, ...] = ()

    @cached_property
    def auxiliary_photos(self) -> Photos:
        """The attacker's photos at the attacks' resolution."""
        return as_photos(self.collection.auxiliary.pixels, self.profile.side)

    @cached_property
    def rebuilt_photos(self) -> Photos:
        """The targets that are rebuilt."""
        return as_photos(self.collection.targets.pixels[: self.profile.rebuilt], self.profile.side)

    @cached_property
    def originals(self) -> Photos:
        """The targets among which a reconstruction should find its own, those that are rebuilt first."""
        return as_photos(self.collection.targets.pixels[: max(ORIGINALS, self.profile.rebuilt)], self.profile.side)

    def target_clusters(self, first: int) -> NDArray[np.intp]:
        """Which of the first so many targets are of one lesion (`securesplit.audit.photos.Side.clusters`)."""
        return metrics.among(self.collection.targets.clusters, np.arange(first))

    @cached_property
    def head(self) -> bytes:
        """The deployed head's file, for the attacks that open it.

        Raises:
            BundleError: it is not the one that the manifest names, so it was replaced under the audit.
        """
        return self.bundle.read_head()

    def head_of(self, preset: str | None) -> bytes:
        """Likewise the head that makes the releases of a preset; None: `head`."""
        return self.head if preset is None else self.bundle.read_head(preset)

    def known(self, preset: str) -> AttackerKnowledge:
        """What the attacker holds against one preset."""
        return self.observations[preset].known(self.auxiliary_photos)

    def sigma(self, preset: str) -> float:
        """Standard deviation of the noise in one release of a preset, embedding units."""
        return self.observations[preset].surface.sigma

    def noise_seeds(self, preset: str) -> tuple[int, ...]:
        """Of the draws of the noise over which a figure is averaged."""
        return self.observations[preset].seeds(self.profile.draws)

    @cached_property
    def _kept(self) -> dict[Hashable, Any]:
        return {}

    def keep(self, key: Hashable, make: Callable[[], T], is_good: Callable[[T], bool] = lambda _: True) -> T:
        """What more than one step needs and takes long to make; made once, or again where what is kept is not good."""
        if key not in self._kept or not is_good(self._kept[key]):
            self._kept[key] = make()
        return cast("T", self._kept[key])
