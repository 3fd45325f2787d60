"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securesplit.pki import issuing
from securesplit_testing.load import Load
from securesplit_testing.serving import now


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A folder as `keygen` writes it."""
    folder = tmp_path / "certs"
    issuing.create(folder, server_names=["127.0.0.1"], clients=["device"], days=1, now=now())
    return folder


@pytest.fixture
def load(certs: Path) -> Iterator[Callable[..., Load]]:
    """``load(endpoint, clients=4)`` starts clients that ask until the test ends."""
    started: list[Load] = []

    def start(endpoint: str, clients: int = 4, **options: Any) -> Load:
        started.append(Load([endpoint], certs, clients, **options))
        return started[-1]

    yield start
    for each in started:
        each.stop()
