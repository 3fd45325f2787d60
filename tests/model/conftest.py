"""What tests of bundles share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from securesplit.model.bundle import DEFAULT_FOLDER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the default bundle, to spoil."""
    return Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle"))
