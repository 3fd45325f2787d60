"""Documents: every link leads somewhere, decisions are indexed, what is named exists, lines fit."""

import re
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from securesplit.audit import attacks, registry
from tests.conftest import REPO

WIDTH = 120
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
MODULE = re.compile(r"python3? -m ((?:securesplit|training|benchmarks|tests)[\w.]*)")
FILE = re.compile(
    r"`(?!\S*NAME)((?:securesplit|training|benchmarks|tests|docs|deploy|examples)/[\w./-]+\.(?:py|md|json|po))\b"
)
LONG = ("benchmarks.", "training.")
ASKS = re.compile(r"\bparse_args\(|\btake_none\(|@click\.command|\bparser_of\(")
DECISION = re.compile(r"\bADR (\d{3})\b|docs/adr/(?!000)(\d{3})")
INDEX = runpy.run_path(str(REPO / "docs" / "adr_index.py"))
PACKAGES = ("securesplit", "training", "tests", "benchmarks", "securesplit_testing")
FOLDERS = ("docs", "examples", "certs", "deploy", *PACKAGES)


def documents() -> list[str]:
    found = [*REPO.glob("*.md"), *(path for folder in FOLDERS for path in (REPO / folder).rglob("*.md"))]
    return sorted(path.relative_to(REPO).as_posix() for path in found)


def read(name: str) -> str:
    return (REPO / name).read_text(encoding="utf-8")


def exists(module: str) -> bool:
    path = REPO / module.rstrip(".").replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@cache
def anchors(path: Path) -> set[str]:
    """Of the headings, as code hosts and mkdocs make them."""
    titles = re.findall(r"^#+ (.+)$", CODE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    words = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in words}


def lead_nowhere(name: str) -> list[str]:
    here, missing = (REPO / name).parent, []
    for target, anchor in LINK.findall(CODE.sub("", read(name))):
        path = here / unquote(target) if target else REPO / name
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            missing.append(f"{target}#{anchor}")
    return missing


@pytest.mark.parametrize("name", documents())
def test_every_link_leads_somewhere(name):
    assert lead_nowhere(name) == []


@pytest.mark.parametrize("name", documents())
def test_what_is_named_exists(name):
    """Modules that `python -m` runs, and files; decisions may tell of files of their day."""
    assert [module for module in MODULE.findall(read(name)) if not exists(module)] == []
    files = [] if name.startswith("docs/adr/") else FILE.findall(read(name))
    assert [file for file in files if not (REPO / file).exists()] == []


def test_what_is_asked_for_help_does_not_begin():
    """Studies and benchmarks that documents name take minutes to hours; each reads its arguments first."""
    named = {module for name in documents() for module in MODULE.findall(read(name)) if module.startswith(LONG)}
    files = {module: REPO / module.rstrip(".").replace(".", "/") for module in named}
    sources = {
        module: file / "__main__.py" if file.is_dir() else file.with_suffix(".py") for module, file in files.items()
    }
    begin = [module for module, source in sources.items() if not ASKS.search(source.read_text(encoding="utf-8"))]
    assert len(named) > 20
    assert begin == []
    helped = subprocess.run([sys.executable, "-m", "benchmarks.transport", "--help"], capture_output=True, check=True)
    assert b"usage" in helped.stdout


@pytest.mark.parametrize("name", documents())
def test_lines_fit(name):
    lines = CODE.sub("", read(name)).splitlines()
    long = [line for line in lines if len(line) > WIDTH and not line.startswith(("|", "    "))]
    assert long == []


def test_lists_of_attacks_have_all_of_them():
    """The one for whoever reads the code, and the one for whoever reads the goals."""
    every = {spec.id for spec in registry.shown() if spec.name}
    assert set(re.findall(r"^(A\d+) ", attacks.__doc__, re.MULTILINE)) == every
    assert set(re.findall(r"^\| (A\d+) \|", read("docs/privacy_goals.md"), re.MULTILINE)) == every


def test_decisions_are_indexed():
    """Each begins like the template; `python docs/adr_index.py` brings the index up to date."""
    assert read("docs/adr/README.md") == INDEX["index"]()
    numbers = [decision.number for decision in INDEX["decisions"]()]
    assert len(numbers) == len(set(numbers)) > 80, "each number once"


def test_every_decision_that_is_named_exists():
    numbers = {decision.number for decision in INDEX["decisions"]()}
    texts = [*REPO.glob("*.md"), *(path for f in FOLDERS for s in ("*.py", "*.md") for path in (REPO / f).rglob(s))]
    named = {path: {a or b for a, b in DECISION.findall(path.read_text(encoding="utf-8"))} for path in texts}
    assert len(set().union(*named.values())) > 80
    assert {path: found - numbers for path, found in named.items() if found - numbers} == {}
