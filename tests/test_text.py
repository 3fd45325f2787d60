"""Text from outside, made fit for terminals, logs and JSON."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import unicodedata
import venv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securesplit.errors import PhotoError
from securesplit.results import error_to_json
from securesplit.text import json_line, pip_install, printable, rounded_up, well_formed
from tests.conftest import REPO

ANY_TEXT = st.text(st.characters(codec=None))  # type: ignore[arg-type]  (lone surrogates too)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mole.jpg", "mole.jpg"),
        ("Muttermal µ 痣.jpg", "Muttermal µ 痣.jpg"),
        ("a\nmole.jpg: benign", "a\\x0amole.jpg: benign"),
        ("\x1b[2K\rmole", "\\x1b[2K\\x0dmole"),
        ("\x9b2J", "\\x9b2J"),  # an escape sequence in one C1 character
        ("a\u202egpj.exe", "a\\u202egpj.exe"),  # turns the direction of writing
        ("a\u2028b", "a\\u2028b"),
        (os.fsdecode(b"m\xff.jpg"), "m\\xff.jpg"),
        ("\U000e0041", "\\U000e0041"),  # an invisible tag
    ],
)
def test_what_could_forge_a_line_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_printable_text_is_one_line_of_utf8(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(c).startswith("C") and unicodedata.category(c) != "Cn" for c in shown)


@given(st.recursive(ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=5))
def test_json_is_ascii_and_any_reader_takes_it(value: object) -> None:
    line = json_line(value)
    assert line.isascii()
    assert "\n" not in line
    json.dumps(json.loads(line), ensure_ascii=False).encode()  # no lone surrogate is left in it


def test_json_refuses_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_line({"a": float("nan")})


def test_the_json_contract_holds_no_lone_surrogate() -> None:
    name = os.fsdecode(b"m\xff.jpg")
    found = error_to_json(name, PhotoError(f"{name} is odd"))
    assert (found["photo"], found["error"]["message"]) == ("m\\xff.jpg", "m\\xff.jpg is odd")
    assert well_formed(found) == found


@given(st.floats(1e-6, 1e4), st.integers(2, 6))
def test_a_promise_is_never_rounded_down(value: float, digits: int) -> None:
    """But for the last digit of a float: one in a million of a unit of the last decimal."""
    shown = rounded_up(value, digits)
    assert -1e-6 <= (shown - value) * 10**digits <= 1 + 1e-6


def test_commands_to_copy_take_any_path() -> None:
    """A folder such as ``/Users/Anna Kim`` must not become two paths, least of all of an rm."""
    command = re.compile(r"(?:^| )(?:chmod \S+|chown|rm|mv|--sign) $")
    seen = 0
    for file in (REPO / "securesplit").rglob("*.py"):
        for text in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for before, value in itertools.pairwise(text.values if isinstance(text, ast.JoinedStr) else ()):
                if isinstance(value, ast.FormattedValue) and command.search(str(getattr(before, "value", ""))):
                    seen += 1
                    assert ast.unparse(value.value).startswith(("in_shell(", "os.geteuid(")), (file.name, value.lineno)
    assert seen >= 10


def test_hints_install_packages_where_there_is_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in what `uv venv` makes: uv installs there where it is at hand, and Python brings a pip of its own."""
    venv.create(tmp_path, with_pip=False)
    python, code = (
        str(tmp_path / "bin" / "python"),
        "from securesplit.text import pip_install; print(pip_install('x[ui]'))",
    )
    said = []
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv").touch(0o700)
    for path in (tmp_path, tmp_path / "uv"):
        monkeypatch.setenv("PATH", str(path))
        said.append(subprocess.run([python, "-c", code], cwd=REPO, capture_output=True, text=True, check=True).stdout)
    with_python, with_uv = map(shlex.split, said)
    assert with_python == [python, "-m", "ensurepip", "&&", python, "-m", "pip", "install", "x[ui]"]
    assert with_uv == ["uv", "pip", "install", "--python", python, "x[ui]"]
    assert subprocess.run(with_python[:3], capture_output=True, check=False).returncode == 0
    assert subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def test_hints_install_packages_for_the_python_that_runs() -> None:
    """A bare pip may be another Python's, and would ask an index for a package that is not there."""
    assert shlex.split(pip_install("securesplit[ui]")) == [sys.executable, "-m", "pip", "install", "securesplit[ui]"]
    sources = [
        file for file in REPO.glob("securesplit/**/*.py") if "audit" not in file.parts
    ]  # an audit's report travels
    assert len(sources) > 100
    assert [file.name for file in sources if re.search(r"pip install ['\w]", file.read_text(encoding="utf-8"))] == []
