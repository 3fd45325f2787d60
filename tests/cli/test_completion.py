"""The shell completes a real command line: click's protocol, and the shells themselves with the documented files."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from securesplit.cli.main import COMMANDS
from tests.conftest import REPO

BIN = Path(sys.executable).parent
SECTION = (
    (REPO / "docs" / "operations.md").read_text(encoding="utf-8").split("## Shell completion")[1].split("\n## ")[0]
)
MOST_CPU_S = 0.4


def run(*command: str | Path, **variables: str) -> str:
    environment: Mapping[str, str] = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def completed(line: str) -> list[str]:
    """What bash is told for a line whose last word is not finished."""
    words = line.split(" ")
    answer = run(
        BIN / "securesplit", _SECURESPLIT_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)
    )
    return answer.splitlines()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("securesplit ", [f"plain,{name}" for name in COMMANDS]),
        ("securesplit diag", ["plain,diagnose"]),
        ("securesplit diagnose --form", ["plain,--format"]),
        ("securesplit diagnose --format ", ["plain,text", "plain,json", "plain,csv"]),
        ("securesplit diagnose --certs cer", ["file,cer"]),
        ("securesplit diagnose mo", ["file,mo"]),
        ("securesplit tail-worker --metrics-", ["plain,--metrics-anywhere", "plain,--metrics-host"]),
    ],
)
def test_a_command_line_is_completed(line: str, answer: list[str]) -> None:
    assert completed(line) == answer


def test_broken_settings_do_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.toml").write_text("no toml")
    monkeypatch.setenv("SECURESPLIT_CONFIG", str(tmp_path / "broken.toml"))
    assert completed("securesplit doc") == ["plain,doctor"]


def test_it_is_fast() -> None:
    def cpu_s(line: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        completed(line)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    for line in ("securesplit ", "securesplit diagnose --"):
        assert min(cpu_s(line) for _ in range(3)) <= MOST_CPU_S, line


def documented(shell: str) -> tuple[str, Path]:
    """The commands that the document has for a shell, and the file that they write."""
    block = next(code for code in re.findall(r"```sh.*?\n(.*?)```", SECTION, re.DOTALL) if f"{shell}_source" in code)
    file = re.findall(r"> (\S+)", block)[-1]
    return block, Path(file.replace("~", os.environ["HOME"]))


def installed(shell: str) -> Path:
    """The file that the documented commands write."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    code, file = documented(shell)
    run("sh", "-ec", code)
    return file


def test_bash_completes() -> None:
    file = installed("bash")
    code = f"source {file}; COMP_WORDS=(securesplit led); COMP_CWORD=1; _securesplit_completion securesplit"
    assert run("bash", "-c", code + '; echo "${COMPREPLY[@]}"').split() == ["ledger"]


def test_zsh_takes_the_file() -> None:
    file = installed("zsh")
    code = f"fpath+={file.parent}; autoload -Uz compinit; compinit -u -D; echo $_comps[securesplit]"
    assert run("zsh", "-fc", code).strip() == file.name


def test_fish_completes() -> None:
    installed("fish")
    config = str(Path(os.environ["HOME"]) / ".config")
    assert run("fish", "-c", "complete -C 'securesplit led'", XDG_CONFIG_HOME=config).split("\t")[0] == "ledger"
