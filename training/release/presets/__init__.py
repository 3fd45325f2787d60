"""The presets that are trained behind the network, a module each; `training.release.preset` says what one offers."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from training.release.preset import PresetModule


def modules() -> list[PresetModule]:
    """All of them, by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return [cast("PresetModule", importlib.import_module(f"{__name__}.{name}")) for name in names]
