"""What tests of the device share."""

from __future__ import annotations

import pytest

from securesplit.encrypted.layout import Layout


@pytest.fixture
def few_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation keys of one rotation in place of 28, which take a second."""
    monkeypatch.setattr(Layout, "rotations", (1,))
