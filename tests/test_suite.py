"""``make test`` runs every test, on one core or on several, and tells whether one of them failed."""

from __future__ import annotations

import re
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
TIMED, FIRST, SHARED = "worker", "channel", "quick"
ALONE = f"{TIMED}/test_load.py"
FOLDERS = [TIMED, FIRST, SHARED]
FILES = [*FOLDERS, ALONE]
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
    """A suite of a test a folder and another file, each of which notes where it ran and how many minutes were left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in FOLDERS:
            (folder / name).mkdir()
        for name in FILES:
            self.write(name, "pass")

    def write(self, name: str, body: str) -> None:
        """Let the test of a folder, or that file, do this."""
        file = name if name.endswith(".py") else f"{name}/test_{name}.py"
        (self._folder / file).write_text(TEST.format(log=str(self._log(name)), body=body))

    def runs(self, name: str) -> list[tuple[str, float]]:
        """For each run of a folder's test the process, and the minutes left."""
        return [(process, float(minutes)) for process, minutes, _ in self._noted(name)]

    def threads(self, name: str) -> list[str]:
        """For each run of a folder's test the threads that it may compute with."""
        return [threads for *_, threads in self._noted(name)]

    def _noted(self, name: str) -> list[list[str]]:
        log = self._log(name)
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def _log(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '-')}.log"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setattr(suite, "TESTS", tmp_path)
    for part, name in (("ALONE", ALONE), ("TIMED", TIMED), ("FIRST", FIRST)):
        monkeypatch.setattr(suite, part, (name,))
    monkeypatch.setattr(suite, "usable_cores", lambda: 2)
    monkeypatch.setenv("TEST_MINUTES", "5")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # many processes start, and need no other plugins
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin,pytest_rerunfailures")
    for name in ("PYTEST_XDIST_WORKER", "OMP_NUM_THREADS"):  # of the process that runs this one
        monkeypatch.delenv(name, raising=False)
    return Suite(tmp_path)


def test_every_folder_is_in_one_part() -> None:
    found = sorted({path.relative_to(suite.TESTS).parts[0] for path in suite.TESTS.rglob("test_*.py")})
    assert found == sorted([*suite.TIMED, *suite.FIRST, *suite._others()])


def test_slow_tests_come_before_their_time_is_over() -> None:
    marked = re.compile(r"pytest\.mark\.(slow|browser|faults)\b")
    files = [path for path in suite.TESTS.rglob("test_*.py") if marked.search(path.read_text(encoding="utf-8"))]
    assert len(files) > 40
    assert {path.relative_to(suite.TESTS).parts[0] for path in files} <= {*suite.TIMED, *suite.FIRST}


def test_what_runs_alone_is_kept_out_of_the_folders_that_are_timed() -> None:
    assert all((suite.TESTS / name).is_file() and name.split("/")[0] in suite.TIMED for name in suite.ALONE)


def test_on_two_cores_two_processes_share_what_need_not_run_alone(small: Suite) -> None:
    small.write(ALONE, ONCE + SLOW)
    small.write(SHARED, ONCE + UNANSWERED)
    assert suite.main(["-q"]) == 0
    ran = {name: [process for process, _ in small.runs(name)] for name in FILES}
    assert ran.pop(ALONE) == ["alone", "alone"], "a second try, since a limit of time ended the first"
    assert ran.pop(TIMED)[0].startswith("gw")
    assert (set(ran.pop(SHARED)), *map(set, ran.values())) in (({"gw0"}, {"gw1"}), ({"gw1"}, {"gw0"}))
    assert len(small.runs(SHARED)) == 2, "nobody answered the first"
    left = [small.runs(name)[0][1] for name in (SHARED, TIMED, ALONE)]
    assert left[0] < left[1] < left[2] <= 5, "the minutes count for all parts"
    assert [set(small.threads(name)) for name in (SHARED, TIMED, ALONE)] == [{"1"}, {"1"}, {"all"}]


@pytest.mark.parametrize(
    ("codes", "options", "expected"),
    [
        ([0, 0, 0], [], 0),
        ([1, 0, 0], [], 1),
        ([0, 0, 1], [], 1),
        ([0, 1, 4], [], 1),
        ([1, 0, 4], [], 1),
        ([1], ["-x"], 1),
        ([0, 1], ["-x"], 1),
        ([0, 0, 2], ["-x"], 2),
        ([2], [], 2),
        ([0, 2], [], 2),
    ],
)
def test_a_failure_in_any_part_counts(
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
    assert [process for name in FILES for process, _ in small.runs(name)] == ["alone"] * len(FILES)


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
