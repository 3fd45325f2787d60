"""Names that modules had before they moved (ADR 095); scripts that use them keep working for one release.

An old name gives the module itself, so its classes are the same ones. Nothing of ours imports an old name.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # as `typing` has it, which takes 10 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import CodeType, ModuleType
    from typing import Any

MOVED = {
    "securesplit.audit.attacks.floors": "securesplit.audit.baselines",
    "securesplit.audit.attacks.identify": "securesplit.audit.attacks.identification",
    "securesplit.audit.attacks.patches": "securesplit.audit.patches",
    "securesplit.audit.attacks.setting": "securesplit.audit.setting",
    "securesplit.async_client": "securesplit.device.async_client",
    "securesplit.client": "securesplit.device.client",
    "securesplit.channel.credentials": "securesplit.pki.credentials",
    "securesplit.channel.keystore": "securesplit.pki.keystore",
    "securesplit.channel.pki": "securesplit.pki.profile",
    "securesplit.journey": "securesplit.device.pipeline",
    "securesplit.privacy.attacks": "securesplit.audit.attacks",
    "securesplit.privacy.ledger": "securesplit.device.ledger",
    "securesplit.privacy.metrics": "securesplit.audit.metrics",
    "securesplit.releaser": "securesplit.device.release_step",
    "securesplit.transport.aio": "securesplit.transport.async_connection",
    "securesplit.transport.client": "securesplit.transport.connection",
    "securesplit.worker.ask": "securesplit.worker.healthcheck",
    "securesplit.worker.served": "securesplit.worker.served_model",
}
"""Old name -> new name, of the modules that scripts and services outside this package are known to name.
What lies in a package that moved is found under its old name, too."""


def new_name(name: str) -> str | None:
    """What a module is called now; None where it did not move."""
    package, rest = name, ""
    while package not in MOVED:
        package, _, last = package.rpartition(".")
        if not package:
            return None
        rest = f".{last}{rest}"
    found = MOVED[package] + rest
    return new_name(found) or found


def forwarded(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """``__getattr__`` of a module for names that other modules have now.

    Args:
        module: that had them.
        names: which module has each.
    """

    def found(name: str) -> Any:
        if name in names:
            return getattr(importlib.import_module(names[name]), name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return found


class _Moved:
    """Finds an old name, and loads the module that has the new one (`importlib.abc`, whose import takes 5 ms)."""

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> Any:
        return ModuleSpec(name, self) if new_name(name) else None  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(new_name(spec.name) or spec.name)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Only give it its own spec back: it ran under its new name."""
        spec = module.__spec__
        module.__spec__ = spec.loader_state if spec is not None else None

    def get_code(self, name: str) -> CodeType | None:
        """For ``python -m``, which runs a module's code once more."""
        from importlib.util import find_spec  # 3 ms that nothing else needs

        spec = find_spec(MOVED[name])
        return spec.loader.get_code(spec.name) if spec is not None else None  # type: ignore[union-attr]


def install() -> None:
    """Let old names be found, before a moved package's own folder is looked through for them."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())
