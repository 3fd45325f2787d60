"""Every claim of threat_model.md names tests, and the tests that it names exist."""

import ast
import json
import math
import re
from functools import cache

import pytest

from tests.conftest import REPO

TEXT = (REPO / "threat_model.md").read_text(encoding="utf-8")
PRIVACY = (REPO / "docs" / "privacy.md").read_text(encoding="utf-8")
GUARDED = (REPO / "docs" / "guarded.md").read_text(encoding="utf-8")
README = (REPO / "README.md").read_text(encoding="utf-8")
IDS = sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", TEXT)))
GUESS = "0.5000 (0.5000 to 0.5000)"
CLAIMS = [line for line in TEXT.splitlines() if line.startswith("|") and "tests/" in line]


def flowing(document):
    """Without line breaks."""
    return " ".join(document.split())


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
    assert said in flowing(TEXT)


def of_guarded(table):
    """The rows of one table of docs/guarded.md, by column."""
    return rows_of(GUARDED, table)


def of_encrypted(table):
    """The rows of `encrypted` in one table of docs/privacy.md, by column."""
    return [row for row in rows_of(PRIVACY, table) if row["preset"] == "encrypted"]


def rows_of(document, table):
    """The rows of one table of an audit's figures, by column."""
    section = document.split(f"\n### {table}")[1].split("\n### ")[0]
    heading, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    assert rows
    return [dict(zip(heading, row, strict=True)) for row in rows]


def figures(cell):
    """A figure, and the ends of its interval."""
    return [float(number) for number in re.findall(r"-?\d+\.\d+", cell)]


def test_lesions_of_guarded_are_told_apart_as_often_as_the_audit_says():
    """A7, by the release and by the answer alone, in docs/guarded.md."""
    (row,), at = of_guarded("Lesion"), "| another photo of the lesion, beside one of another lesion"
    (summary,) = [line for line in GUARDED.splitlines() if line.startswith(at)]
    released, *ends, answered = figures(summary.split("|")[3])
    assert [released, *ends] == [round(figure, 3) for figure in figures(row["told apart"])]
    said = f"in {released:.0%} of cases, where the answer's probability alone does so in {answered:.0%}"
    assert said.replace("%", " %") in flowing(TEXT)


def test_the_tail_is_copied_from_as_few_answers_as_the_audit_says():
    """A13 on the default preset, in docs/privacy.md, and of `guarded` in docs/guarded.md."""
    (own,), (guarded,) = of_encrypted("Stealing"), of_guarded("Stealing")
    assert own["queries for 95 %"] == guarded["queries for 95 %"] == "10"
    share, low, high = copied(own)
    assert f"for {share:.0f} % of the test photos ({low / 100:.3f} to {high / 100:.3f})" in flowing(TEXT)
    for document in (README, PRIVACY):
        assert f"copy that gives {share:.0f} % of the labels" in flowing(document)
    assert f"network that gives {copied(guarded)[0]:.0f} % of the labels" in flowing(GUARDED)


def copied(row):
    """Of the labels, in percent, and the ends of its interval."""
    return [100 * figure for figure in figures(row["agreement"])]


def upper_end(rows, column):
    """Of the widest interval, in percent."""
    return math.ceil(100 * max(figures(row[column])[2] for row in rows))


def test_no_attack_on_the_picture_gets_more_of_guarded_than_the_readme_says():
    """Neither those of its audit nor those of its training, which know the true label."""
    said = re.search(r"at most (\d+) % of what the class leaves open, and at most (\d+) % of their pictures", README)
    trained = json.loads((REPO / "bundles" / "guarded" / "manifest.json").read_text(encoding="utf-8"))["provenance"]
    attacked, audited = trained["guarded"]["attacked"], of_guarded("Reconstruction")
    skills = [attacked["ridge_skill"], *attacked["decoder_skill_by_epoch"]]
    skills += [figures(row["skill"])[0] for row in audited]
    found = [attacked["own_original_among_300"], *(figures(row["found"])[0] for row in audited)]
    assert round(100 * max(skills)) <= int(said[1])
    assert 100 * max(found) <= int(said[2])
    few = [row for row in audited if int(row["photos"]) < 200]
    ends = re.search(
        r"the 95 % intervals end at (\d+) % and at (\d+) %, where 200 photos are rebuilt; "
        r"slower attacks rebuild (\d+) to (\d+) photos, none of which finds its own: at most (\d+) %",
        README,
    )
    skill, found, least, most, found_of_few = map(int, ends.groups())
    assert upper_end(audited, "skill") == skill
    assert upper_end([row for row in audited if row not in few], "found") == found
    assert upper_end(few, "found") == found_of_few
    assert {figures(row["found"])[0] for row in few} == {0.0}
    assert (least, most) == (min(int(row["photos"]) for row in few), max(int(row["photos"]) for row in few))
    assert {row["among originals"] for row in audited} == {"300"}


def test_attacks_on_ciphertexts_get_nothing_at_all():
    """No more than a guess, for a worker reads no answer."""
    aucs = [figures(row["release"]) for row in of_encrypted("Attributes")]
    assert all(low <= 0.5 for _, low, _ in aucs)
    assert {row[view] for row in of_encrypted("Attributes") for view in ("label-only", "answer-only")} == {GUESS}
    said = re.search(
        r"A8 has an AUC of (0\.\d\d) to (0\.\d\d), no interval above 0\.5, A6 names (\S+) % of 1,000",
        flowing(PRIVACY),
    )
    assert (f"{min(aucs)[0]:.2f}", f"{max(aucs)[0]:.2f}") == said.groups()[:2]
    (photo,) = (row for row in of_encrypted("Identification") if row["N"] == "1000")
    named, least, _most = max(figures(photo[way]) for way in ("top-1", "whole batch"))
    assert f"{100 * named:.2f}" == said[3]
    assert least <= 1 / 1000
    baselines, attacks = [], []
    for row in of_encrypted("Reconstruction"):
        (baselines if row["attack"] == "A0" else attacks).append(row)
    (mean,) = (figures(row["skill"])[0] for row in baselines if row["what"] == "baseline mean image")
    assert max(figures(row["skill"])[1] for row in attacks) <= mean


def test_whoever_names_one_assumption_of_encrypted_names_the_other():
    """Ring learning with errors alone does not say that evaluation keys may be handed out."""
    documents = [*REPO.glob("*.md"), *(REPO / "docs").glob("*.md")]
    texts = {document.name: flowing(document.read_text(encoding="utf-8")) for document in documents}
    resting = {name for name, text in texts.items() if "ring learning with errors" in text.lower()}
    assert {"README.md", "threat_model.md", "privacy.md", "glossary.md"} <= resting
    assert [name for name in resting if not re.search("circular(ly secure| security)", texts[name])] == []


def test_what_guarded_gives_away_is_what_its_audit_found():
    """Photo, person and lesion are named, and of the lesion more is told than by the answer."""
    (photo,) = (row for row in of_guarded("Identification") if (row["N"], row["k"]) == ("1000", "1"))
    (person,) = (
        row for row in of_guarded("A person") if (row["N"], row["k"], row["persons"]) == ("1000", "2", "drawn")
    )
    (lesion,) = of_guarded("Lesion")
    (size,) = (row for row in of_guarded("Attributes") if row["attribute"] == "lesion size")
    assert figures(photo["top-1"])[1] > 0.5
    assert figures(person["order known"])[1] > 0.9
    assert figures(lesion["top-1"])[1] > figures(lesion["label-only"])[2]
    assert figures(lesion["top-1"])[2] < 0.5  # "at times"
    assert figures(size["release"])[0] > figures(size["answer-only"])[0]
