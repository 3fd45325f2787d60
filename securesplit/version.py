"""The version of this package, also where it was copied and not installed."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

UNKNOWN_VERSION = "0+unknown"
"""The version where the package was not installed, as in a copy of its folder (PEP 440: a local version)."""


def own_version() -> str:
    """The installed package's, or `UNKNOWN_VERSION`."""
    try:
        found: str | None = metadata.version("securesplit")
    except metadata.PackageNotFoundError:
        return UNKNOWN_VERSION
    return found or UNKNOWN_VERSION  # None: half of the metadata is there


def installed_at() -> datetime:
    """When this copy of securesplit was written to the disk."""
    return datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
