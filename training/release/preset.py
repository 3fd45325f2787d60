"""What a preset is to the build of a bundle, and what it learns from.

Every module of `training.release.presets` is a preset: it has a ``NAME``, adds its options to the command line of the
build, and trains both of its ends. `training.release.presets.modules` finds them, so a new preset is one new module.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.privacy.release import ReleaseSpec
from training.release.cache import Cached

DIVERGED_HINT = "give another --run: a preset learns from the maps and answers of its network"


@dataclass(frozen=True)
class CutNetwork:
    """A fine-tuned network at its cut.

    Attributes:
        tail: cut map -> logit of malignant, of the undefended network.
        train: cached views of the training photos.
        val: of the validation photos.
        secrets: ``(photos, q) float32``, `training.release.cache.secrets_of` the training photos.
        run: folder for weights, which are used again where they were trained by the same settings.
    """

    tail: keras.Model
    train: Cached
    val: Cached
    secrets: NDArray[np.float32]
    run: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """``(h, w, c)`` of the cut map."""
        return self.train.maps.shape[1:]


@dataclass(frozen=True)
class Trained:
    """A preset's two ends, ready to export: cut map -> embedding, and release -> logit of malignant.

    ``settings`` are noted in the bundle's provenance, where there are any.
    """

    spec: ReleaseSpec
    encoder: keras.Model
    decoder: keras.Model
    val_auc: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    def stored_as(self, name: str | None) -> Trained:
        """The same, called `name` in the bundle."""
        return replace(self, spec=replace(self.spec, stored_as=name))


class PresetModule(Protocol):
    """What a module of `training.release.presets` offers."""

    NAME: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of this preset, each with the preset's name in it or used by no other."""

    def train(self, cut: CutNetwork, args: argparse.Namespace) -> Trained:
        """Both ends of the preset, by those options."""
