"""What tests of keys and certificates share."""

from __future__ import annotations

from pathlib import Path

import pytest

from securesplit.pki import keystore
from securesplit_testing.channels import NOW


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A new certs folder, of one device."""
    folder = tmp_path / "certs"
    keystore.create(folder, days=90, now=NOW)
    return folder
