"""The small corpus: one input for each outcome of each target, run again, and where atheris starts from.

Made with ``python -m benchmarks.fuzz --keep tests/fuzz/corpus``.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given

from securesplit_testing.fuzz import targets
from securesplit_testing.fuzz.mutation import Mutation, mutations, parse, spell
from tests.conftest import REPO

CORPUS = Path(__file__).with_name("corpus")
MAX_BYTES = 16_384  # of all of it


@pytest.mark.parametrize("name", targets.NAMES)
def test_every_input_does_no_more_than_to_be_refused(name: str, tmp_path: Path) -> None:
    target = targets.make(name, tmp_path)
    outcomes = {target(parse(file.read_bytes())) for file in sorted((CORPUS / name).iterdir())}
    assert len(outcomes) > 1, "the corpus has lost its variety"


def test_the_corpus_stays_small() -> None:
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < MAX_BYTES


@given(mutations)
def test_a_mutation_is_spelled_and_read(mutation: Mutation) -> None:
    assert parse(spell(mutation)) == mutation


def test_raw_bytes_are_handed_in_as_they_are() -> None:
    assert parse(b"\0\7\0what came").apply(b"something else") == b"what came"


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="no atheris (pip install 'securesplit[fuzz]')")
@pytest.mark.parametrize("name", ["frames", "tensors"])
def test_coverage_finds_its_way_from_the_target_s_own_messages(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(tmp_path), "-runs=5000", "-max_total_time=20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, cwd=REPO)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.iterdir())) > 2
