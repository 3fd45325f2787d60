"""Privacy-hardened split inference: the photo stays on the device, a small release of it travels, encrypted by default.

The names below load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib

from securesplit import moved

TYPE_CHECKING = False  # as `typing` has it, which takes 10 ms to import
if TYPE_CHECKING:
    from typing import Any

    from securesplit.device.async_client import AsyncClient
    from securesplit.device.client import Client
    from securesplit.device.release_step import Release, Releaser
    from securesplit.errors import (
        BudgetError,
        BundleError,
        ConfigError,
        CredentialError,
        PhotoError,
        SecureSplitError,
        TrustError,
        UnreachableError,
        WorkerError,
    )
    from securesplit.model import Bundle
    from securesplit.privacy.mechanism import Mechanism
    from securesplit.results import Diagnosis, Refusal

    __version__: str

__all__ = [
    "AsyncClient",
    "BudgetError",
    "Bundle",
    "BundleError",
    "Client",
    "ConfigError",
    "CredentialError",
    "Diagnosis",
    "Mechanism",
    "PhotoError",
    "Refusal",
    "Release",
    "Releaser",
    "SecureSplitError",
    "TrustError",
    "UnreachableError",
    "WorkerError",
    "__version__",
]

_MODULES = {
    "AsyncClient": "device.async_client",
    "Bundle": "model",
    "Client": "device.client",
    "Diagnosis": "results",
    "Mechanism": "privacy.mechanism",
    "Refusal": "results",
    "Release": "device.release_step",
    "Releaser": "device.release_step",
}

moved.install()


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562); the version is the installed package's, where there is one."""
    if name == "__version__":
        return importlib.import_module("securesplit.version").own_version()
    if name not in __all__:
        raise AttributeError(f"module 'securesplit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"securesplit.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    """Public names too that were not used yet, for completion in shells and notebooks."""
    return sorted({*globals(), *__all__})
