"""Fixtures of the worker's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from securesplit.pki import issuing
from securesplit_testing.serving import now


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A folder as `keygen` writes it, for the clients ``device`` and ``other``."""
    folder = tmp_path / "certs"
    issuing.create(folder, server_names=["127.0.0.1"], clients=["device", "other"], days=1, now=now())
    return folder
