"""A few seconds of each fuzz target, the same every time; ``python -m benchmarks.fuzz`` runs them as long as wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from securesplit_testing.fuzz import targets
from securesplit_testing.fuzz.mutation import Mutation, mutations

EXAMPLES = {
    "frames": 250,
    "tensors": 250,
    "answers": 250,
    "junk": 250,
    "server": 150,
    "client": 80,
    "certificates": 100,
    "photos": 150,
    "metadata": 150,
    "texts": 100,
}


@pytest.mark.parametrize("name", targets.NAMES)
def test_no_input_does_more_than_to_be_refused(name: str, tmp_path: Path) -> None:
    target = targets.make(name, tmp_path)
    seen: set[str] = set()

    @settings(
        max_examples=EXAMPLES[name],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(mutations)
    def fuzz(mutation: Mutation) -> None:
        seen.add(target(mutation))

    fuzz()
    assert len(seen) > 1, "the mutations are too wild or too tame to tell anything"
