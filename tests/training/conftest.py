"""What tests of the training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.training.forked import Forks


@pytest.fixture(scope="package")
def forks() -> Iterator[Forks]:
    """Runs commands without importing TensorFlow for each."""
    with Forks() as made:
        yield made
