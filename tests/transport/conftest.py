"""What tests of the transport share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from securesplit_testing.serving import Running, running
from tests.transport.clients import KEYS


@pytest.fixture(scope="module")
def worker() -> Iterator[Running]:
    """A worker that answers with the sum of a release; its keys and a device's are `KEYS`."""
    with running(keys=KEYS) as started:
        yield started
