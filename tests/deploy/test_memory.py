"""What the shipped files give a worker is what its processes take when every tail has loaded all keys that it may."""

from __future__ import annotations

import re

import pytest

from securesplit.encrypted.layout import Layout
from securesplit.encrypted.parameters import SHIPPED
from securesplit.worker.encrypted_engine import LOADED_KEYS
from tests.conftest import REPO

FRONT_MB, TAIL_MB, KEY_MB, LOADING_MB = 160, 200, 95, 200
"""As docs/operations.md says: front with what waits, a tail, each key that it has loaded, and one that it loads."""
FILES = {"compose/compose.yml": r"mem_limit: (\d+)g", "kubernetes/base/deployment.yaml": r"limits: \{memory: (\d+)Gi\}"}


def number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, pattern
    return int(found[1])


def test_a_loaded_key_takes_what_the_documents_say() -> None:
    """Each key has two polynomials for each of the primes but the special one, of all primes, 8 bytes a residue."""
    primes, keys = len(SHIPPED.prime_bits), len(Layout(slots=SHIPPED.slots).rotations) + 1
    assert 0.9 * KEY_MB < keys * (primes - 1) * 2 * primes * SHIPPED.degree * 8 / 1e6 < KEY_MB
    said = (REPO / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"take {TAIL_MB} MB a tail, {KEY_MB} MB for each key" in " ".join(said.split())


@pytest.mark.parametrize("file", FILES)
def test_a_container_has_room_for_all_keys_that_its_tails_load(file: str) -> None:
    text = (REPO / "deploy" / file).read_text(encoding="utf-8")
    tails, stored = number(r"--workers=(\d+)", text), number(r"--evaluation-key-memory=(\d+)", text) * 1.049
    limit = number(FILES[file], text) * 1074
    assert FRONT_MB + tails * (TAIL_MB + LOADED_KEYS * KEY_MB + LOADING_MB) + stored < limit
