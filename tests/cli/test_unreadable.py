"""What this user may not read is told by who opens it, and is no wrong command line: run without privileges."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WITHOUT_PRIVILEGES = (
    ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.name == "posix" and not os.geteuid() else []
)
pytestmark = pytest.mark.skipif(
    os.name != "posix" or not all(map(shutil.which, WITHOUT_PRIVILEGES[:1])), reason="needs setpriv, or is not POSIX"
)


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A folder that its owner may not enter."""
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "photo.png").touch()
    folder.chmod(0)
    return folder


def said(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*WITHOUT_PRIVILEGES, sys.executable, "-m", "securesplit", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


def test_an_unreadable_photo_or_folder_costs_the_others_nothing(
    locked: Path, draw_photo: Callable[..., Path], tmp_path: Path
) -> None:
    unreadable, photo, out = draw_photo(1), draw_photo(2), tmp_path / "out.npz"
    unreadable.chmod(0)
    done = said("release", "--privacy", "certified", "--out", out, unreadable, locked, photo)
    assert done.returncode == 3
    assert done.stderr.count("error: photo ") == done.stderr.count("hint: check ") == 2
    assert "1 release" in done.stdout
    assert out.exists()


def test_a_folder_of_settings_is_told_by_its_reader(locked: Path) -> None:
    done = said("--config", locked / "config.toml", "config", "show")
    assert (done.returncode, done.stderr.count("hint: check ")) == (2, 1)


def test_doctor_tells_of_it_and_looks_at_the_rest(locked: Path) -> None:
    report = json.loads(said("doctor", "--format", "json", "--certs", locked, "--state", locked).stdout)
    found = {finding["check"]: finding for finding in report["findings"] if finding["level"] == "error"}
    assert {"certificates", "state"} <= found.keys()
    assert "move the whole folder" in found["state"]["hint"], "it may hold a noise secret"
    assert all(finding["hint"] for finding in found.values())
    assert (report["exit_code"], report["findings"][-1]["check"]) == (5, "confinement")


def test_an_audit_tells_which_photos_it_cannot_read(locked: Path, tmp_path: Path) -> None:
    done = said("audit", "--data", locked, "--out", tmp_path / "audit")
    assert (done.returncode, "check --data" in done.stderr) == (2, True)


@pytest.mark.parametrize("command", [("release", "missing.jpg"), ("demo", "missing.jpg")])
def test_a_folder_that_may_not_be_written_is_told_of_before_any_work(locked: Path, command: tuple[str, ...]) -> None:
    locked.chmod(0o500)
    done = said(*command, "--out", locked / "made.png")
    assert done.returncode == 2
    assert "Permission denied" in done.stderr


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="nobody else gets into such a folder")
@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [(["config", "show"], 0, ""), (["ledger", "--foo"], 2, "error: No such option"), (["x.jpg"], 2, "No such command")],
)
def test_a_working_folder_that_may_not_be_entered_is_in_nobodys_way(
    arguments: list[str], code: int, part: str, locked: Path
) -> None:
    """As root's home folder is for the service's user, under sudo."""
    done = said(*arguments, cwd=locked)
    assert done.returncode == code
    assert part in done.stderr
