"""Every script under examples/ runs as printed, says what it should, and is short."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import REPO

FOLDER = REPO / "examples"
SAYS = {
    "diagnose_array": ["ndarray: malignant", "Image: malignant", "refused, and nothing was sent: lighting"],
    "async_batch": ["photo 3: ", "photo 4: "],
    "own_worker": ["plain: malignant", "shifted: malignant"],
    "own_attack": ["skill over the mean image on `none`: 0."],
    "own_mechanism": ["promise: none"],
    "split_network": ["second: (15, 15, 16), 14400 bytes", "float32: head"],
    "read_ledger": ["of 2 photos", "budget", "distinct releases of"],
    "audit_preset": ["positive control", "written: audit.json"],
}
SLOW = ("audit_preset", "split_network")  # attacks, and TensorFlow
NEEDS = {"own_attack": "scipy", "audit_preset": "matplotlib", "split_network": "tensorflow"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SAYS]
)
def test_it_runs_and_says_what_it_should(name, tmp_path):
    pytest.importorskip(NEEDS.get(name, "numpy"))
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / f"{name}.py"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[name]:
        assert words in done.stdout
    assert "Traceback" not in done.stderr


def test_all_are_here_short_and_listed():
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    assert scripts.keys() == SAYS.keys()
    assert max(len(text.splitlines()) for text in scripts.values()) <= 60
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"({name}.py)" in listed for name in scripts)
