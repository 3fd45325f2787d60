"""The recipes of CONTRIBUTING.md are short, and what they say is enough: each is followed by a small example.

An attack is added in tests/privacy/test_new_attack.py, a backbone and a preset in tests/training/test_recipes.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

from securesplit.cli import main, terminal
from securesplit.cli.settings import command
from securesplit.pki.credentials import Validity
from securesplit.worker.monitoring import counters, observer, prometheus
from securesplit.worker.settings import PoolSettings
from securesplit_testing.serving import now
from tests.conftest import REPO

GUIDE = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (Add an? [a-z ]+)\n(.*?)(?=^#|\Z)", GUIDE, re.DOTALL | re.MULTILINE))
HALF_A_PAGE = 25  # lines


def test_there_are_five_short_recipes() -> None:
    assert set(RECIPES) == {"Add an attack", "Add a backbone", "Add a preset", "Add a command", "Add a metric"}
    assert all(text.strip().count("\n") < HALF_A_PAGE for text in RECIPES.values())


@command("greet")
@click.option("--name", default="you", help="Who is greeted.")
def greet(name: str) -> None:
    """Say hello."""
    terminal.answer(f"hello, {name}")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("securesplit.cli.greet")
    module.greet = greet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(main.COMMANDS, "greet", ("greet", "Say hello."))


@pytest.mark.usefixtures("added")
def test_a_module_and_an_entry_make_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text("[greet]\nname = 'file'\n")
    assert main.run(["greet"]) == main.run(["--config", str(tmp_path / "s.toml"), "greet"]) == 0
    monkeypatch.setenv("SECURESPLIT_NAME", "environment")
    assert main.run(["greet"]) == main.run(["greet", "--name", "flag"]) == main.run(["--help"]) == 0
    said = capsys.readouterr().out
    assert re.findall("hello, (.*)", said) == ["you", "file", "environment", "flag"]
    assert re.search("greet +Say hello", said)


def test_every_metric_has_its_row_and_its_number() -> None:
    """Of the worker: what ``prometheus.py`` shows is what docs/operations.md explains."""
    pool = PoolSettings()
    status = observer.Status(0, 0, 0, 0, {"idle": 1}, (), True, False, 0.0, now(), confinement=())  # noqa: FBT003
    shown = prometheus.WorkerCollector(
        counters.Counters(),
        bundle_id="sha256:0",
        pool=pool,
        ends=lambda: {"server": Validity(now(), now(), now())},
        session_log=lambda: {"written": 0},
    ).page(status)
    families = [f for f in text_string_to_metric_families(shown.decode()) if f.name.startswith("securesplit_")]
    names = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    assert all(family.documentation for family in families)
    document = (REPO / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", document, re.MULTILINE)
    assert names == {name for row in rows for name in re.findall(r"`(securesplit_\w+)`", row)}
