"""Every command of the README runs here as printed, in its order, in one folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from securesplit.imaging.synthetic import draw_lesion
from tests.conftest import REPO

BIN = Path(sys.executable).parent
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (REPO / "README.md").read_text(encoding="utf-8"), re.DOTALL)
MAKE = ("make demo\n", "make test\n", "make ui\n")
WORKER = "tail-worker"
PAGE = "securesplit ui"


def test_continuous_integration_runs_the_make_commands() -> None:
    steps = (REPO / ".ci" / "run").read_text()
    assert [code for kind, code in BLOCKS if kind == "sh" and code in MAKE] == list(MAKE)
    assert all(command.strip() in steps for command in MAKE)


def run_apart(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """In a folder, as if no `make` had started these tests: its variables would be those of another one."""
    env = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VENV"}
    }
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_keygen_writes_into_a_checkout_of_umask_002_after_make(tmp_path: Path) -> None:
    """Such a checkout has a folder certs that its group can change, which keygen refuses."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPO / name, tmp_path)
    certs = tmp_path / "certs"
    certs.mkdir()
    certs.chmod(0o775)
    (tmp_path / ".venv").mkdir()
    for command in (["make", ".venv/.base", "PYTHON=true", "INSTALL=true"], [f"{BIN}/securesplit", "keygen"]):
        done = run_apart(command, tmp_path)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_make_refuses_an_older_python_before_its_environment_is_there(tmp_path: Path) -> None:
    """It would stay: `python3.12 -m venv` leaves the Python of an environment that it finds."""
    shutil.copy(REPO / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    old = tmp_path / "python3"
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])' \"$2\"\n"
    )
    old.chmod(0o755)
    done = run_apart(["make", ".venv/.base", f"PYTHON={old}", "INSTALL=true"], tmp_path)
    assert done.returncode != 0
    assert f"error: securesplit needs Python 3.11 or newer, and {old} is 3.9\nhint: make demo PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()
    wanted = re.search(r'requires-python = ">=(3\.\d+)"', (REPO / "pyproject.toml").read_text(encoding="utf-8"))
    assert wanted is not None
    assert wanted[1] in done.stderr


def test_every_other_command_runs_as_printed(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(draw_lesion(7)).save(tmp_path / "mole.jpg")
    port = free_port()
    worker: subprocess.Popen[str] | None = None
    try:
        for kind, code in BLOCKS:
            if code in MAKE:
                continue
            here = code.replace("127.0.0.1:5555", f"127.0.0.1:{port}").replace(".venv/bin/", f"{BIN}/")
            if WORKER in code:
                worker = subprocess.Popen(here.split(), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
                assert worker.stderr is not None
                assert str(port) in worker.stderr.readline()
                continue
            if PAGE in code:
                _open_page(here, tmp_path)
                continue
            command = [sys.executable, "-c", here] if kind == "python" else here.split()
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, (code, done.stderr)
            assert done.stdout or kind != "python", code
    finally:
        if worker is not None:
            worker.terminate()
            worker.communicate(timeout=20)
            assert worker.returncode == 0
    assert (tmp_path / "release.npz").is_file()


def test_programs_satisfy_a_strict_type_checker(tmp_path: Path) -> None:
    """As somebody checks them who copied them, and the examples, without the settings of this checkout."""
    pytest.importorskip("mypy")
    programs = [code for kind, code in BLOCKS if kind == "python"]
    assert len(programs) > 2
    for number, code in enumerate(programs):
        (tmp_path / f"readme_{number}.py").write_text(code)
    for example in (REPO / "examples").glob("*.py"):
        shutil.copy(example, tmp_path)
    files = sorted(file.name for file in tmp_path.glob("*.py"))
    done = run_apart([sys.executable, "-m", "mypy", "--strict", "--config-file=", *files], tmp_path)
    assert done.returncode == 0, done.stdout


def _open_page(command: str, folder: Path) -> None:
    """Open the printed address, then end the page as a user does."""
    with subprocess.Popen(command.split(), cwd=folder, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        with urllib.request.urlopen(page.stdout.readline().strip(), timeout=10) as answer:  # noqa: S310  (our own)
            assert b"securesplit" in answer.read()
        page.send_signal(signal.SIGINT)
    assert page.returncode == 0
