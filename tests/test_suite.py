"""``make test`` runs every test, on one core or on several, and tells whether one of them failed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from securesplit_testing.threads import beside
from tests import __main__ as suite
from tests.conftest import REPO

pytest.importorskip("xdist")
pytest.importorskip("pytest_rerunfailures")
ALONE, SHARED = suite.ALONE[0], "quick"
FOLDERS = [*suite.ALONE, *suite.FIRST, SHARED]
ONCE = "if len(log.read_text().splitlines()) == 1:\n        raise "
SLOW, UNANSWERED = "TooSlowError('a stall')", "UnreachableError('no worker answered at tcp://127.0.0.1:1 within 20 s')"
STUCK = """
import threading

def never_ends():
    threading.Event().wait()

def test_it():
    threading.Thread(target=never_ends).start()
"""
RUN = """
import sys
import pytest
from tests import conftest

conftest.LEFT_BEHIND_S = 0.5
sys.exit(pytest.main(["-q", "--rootdir", sys.argv[1], "-p", "tests.conftest", sys.argv[1]]))
"""
TEST = """
import os, pathlib
from securesplit.errors import UnreachableError
from securesplit_testing.timing import TooSlowError

def test_it():
    log = pathlib.Path({log!r})
    with log.open("a") as stream:
        process, threads = os.environ.get("PYTEST_XDIST_WORKER", "alone"), os.environ.get("OMP_NUM_THREADS", "all")
        print(process, os.environ["TEST_MINUTES"], threads, file=stream)
    {body}
"""


class Suite:
    """A suite of one test a folder, each of which notes where it ran and how many minutes were left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in FOLDERS:
            (folder / name).mkdir()
            self.write(name, "pass")

    def write(self, name: str, body: str) -> None:
        """Let the test of a folder do this."""
        text = TEST.format(log=str(self._folder / f"{name}.log"), body=body)
        (self._folder / name / f"test_{name}.py").write_text(text)

    def runs(self, name: str) -> list[tuple[str, float]]:
        """For each run of a folder's test the process, and the minutes left."""
        return [(process, float(minutes)) for process, minutes, _ in self._noted(name)]

    def threads(self, name: str) -> list[str]:
        """For each run of a folder's test the threads that it may compute with."""
        return [threads for *_, threads in self._noted(name)]

    def _noted(self, name: str) -> list[list[str]]:
        log = self._folder / f"{name}.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setattr(suite, "TESTS", tmp_path)
    monkeypatch.setattr(suite, "usable_cores", lambda: 2)
    monkeypatch.setenv("TEST_MINUTES", "5")
    for name in ("PYTEST_XDIST_WORKER", "OMP_NUM_THREADS"):  # of the process that runs this one
        monkeypatch.delenv(name, raising=False)
    return Suite(tmp_path)


def test_every_folder_is_in_one_part() -> None:
    found = sorted({path.relative_to(suite.TESTS).parts[0] for path in suite.TESTS.rglob("test_*.py")})
    assert found == sorted([*suite.ALONE, *suite.FIRST, *suite._others()])


@pytest.mark.parametrize("over", [SLOW, UNANSWERED], ids=["measured", "request"])
def test_on_two_cores_two_processes_share_what_need_not_run_alone(small: Suite, over: str) -> None:
    small.write(ALONE, ONCE + over)
    assert suite.main(["-q"]) == 0
    ran = {name: [process for process, _ in small.runs(name)] for name in FOLDERS}
    assert ran.pop(ALONE) == ["alone", "alone"], "a second try, since a limit of time ended the first"
    assert [ran.pop(name) for name in suite.ALONE[1:]] == [["alone"]] * (len(suite.ALONE) - 1)
    assert {process for (process,) in ran.values()} == {"gw0", "gw1"}
    assert small.runs(SHARED)[0][1] < small.runs(ALONE)[0][1] <= 5, "the minutes count for both parts"
    assert (small.threads(SHARED), small.threads(ALONE)) == (["1"], ["all", "all"])


@pytest.mark.parametrize(
    ("codes", "options", "expected"),
    [
        ([0, 0], [], 0),
        ([1, 0], [], 1),
        ([0, 1], [], 1),
        ([1, 4], [], 1),
        ([1], ["-x"], 1),
        ([0, 2], ["-x"], 2),
        ([2], [], 2),
    ],
)
def test_a_failure_in_either_part_counts(
    monkeypatch: pytest.MonkeyPatch, codes: list[int], options: list[str], expected: int
) -> None:
    parts = iter(codes)
    monkeypatch.setattr(suite, "usable_cores", lambda: 2)
    monkeypatch.setattr(suite, "_pytest", lambda *_: next(parts))
    assert suite.main(options) == expected
    assert not list(parts), "it ends early only where it was asked to, or was interrupted"


def test_on_one_core_one_process_runs_all(small: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "usable_cores", lambda: 1)
    assert suite.main(["-q"]) == 0
    assert [process for name in FOLDERS for process, _ in small.runs(name)] == ["alone"] * len(FOLDERS)


def test_a_thread_that_never_ends_does_not_keep_the_suite_from_ending(tmp_path: Path) -> None:
    (tmp_path / "test_stuck.py").write_text(STUCK)
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)], cwd=REPO, timeout=60, check=False, capture_output=True, text=True
    )
    assert "1 passed" in ended.stdout
    assert ended.returncode == 1
    assert "never_ends" in ended.stderr, "it says what ran"


def test_what_runs_beside_a_test_ends_with_it() -> None:
    ended = []

    def run(over: threading.Event) -> None:
        ended.append(over.wait(20))

    with pytest.raises(ZeroDivisionError), beside(run, run):
        _ = 1 / 0
    assert ended == [True, True]
