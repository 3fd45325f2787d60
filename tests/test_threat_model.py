"""Every claim of threat_model.md names tests, and the tests that it names exist."""

import ast
import re
from functools import cache

import pytest

from tests.conftest import REPO

TEXT = (REPO / "threat_model.md").read_text(encoding="utf-8")
PRIVACY = (REPO / "docs" / "privacy.md").read_text(encoding="utf-8")
IDS = sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", TEXT)))
CLAIMS = [line for line in TEXT.splitlines() if line.startswith("|") and "tests/" in line]


@cache
def functions(path):
    tree = ast.parse((REPO / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("test_id", IDS)
def test_every_named_test_exists(test_id):
    path, name = test_id.split("::")
    assert (REPO / path).is_file(), f"{path} is gone"
    assert name in functions(path), f"{path} has no {name}"


def test_every_claim_names_a_test():
    for section in TEXT.split("| claim | tests |\n|---|---|\n")[1:]:
        rows = section.split("\n\n")[0].splitlines()
        assert rows
        for row in rows:
            assert re.search(r"`tests/[\w/]+\.py::\w+`", row), f"a claim without a test: {row}"


def test_there_are_claims_about_every_adversary():
    assert len(CLAIMS) >= 20
    for adversary in ("wire-tapper", "honest-but-curious tail", "malicious tail", "malicious client", "thief"):
        assert re.search(rf"^### .*{adversary}", TEXT, re.MULTILINE | re.IGNORECASE), adversary


def test_persons_are_named_as_often_as_the_audit_says():
    """A10 on the shipped bundle, in docs/privacy.md: by k, the order known and not."""
    rows = [line.split(" | ") for line in PRIVACY.splitlines() if line.startswith("| certified | 1000 | ")]
    rates = {
        int(row[2]): [round(100 * float(row[at].split()[0])) for at in (4, 6)] for row in rows if row[3] == "drawn"
    }
    (four, other_four), (six, other_six) = rates[4], rates[6]
    said = f"A10 gets {four} % from four and {six} % from six, and {other_four} % and {other_six} % where it does not"
    assert said in " ".join(TEXT.split())
