"""The suite on all cores of this machine: ``python -m tests [OPTIONS OF PYTEST]``, which ``make test`` runs (ADR 109).

Folders whose tests measure time or take the machine for themselves come first, one test after the other. Then the
rest in one process a core, each file's tests in one of them, computing on that core. ``TEST_MINUTES`` counts for both
together.
On one core everything is one run of pytest. A test that a limit of time ended may try again, and the summary says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from securesplit.worker.cores import usable_cores

TESTS = Path(__file__).parent
ALONE = ("faults", "transport", "worker")
FIRST = ("channel", "integration", "browser", "training", "privacy")
"""What forks comes before TensorFlow has threads; then files that take minutes, so that none is left for the end."""
MOST_PROCESSES = 8  # each has a TensorFlow of its own
RETRIES = ["--reruns", "2", "--only-rerun", "TooSlowError", "--only-rerun", r"UnreachableError: .* within \d", "-raR"]
PASSED, INTERRUPTED = 0, 2
STOPPING = {"-x", "--exitfirst"}


def main(options: list[str]) -> int:
    """Exit code of the first part that failed."""
    began_s, cores = time.monotonic(), usable_cores()
    processes = min(cores, MOST_PROCESSES)
    if processes == 1:
        return _pytest([*options, str(TESTS)], began_s)
    first = _pytest([*options, *_paths(ALONE)], began_s)
    if first == INTERRUPTED or (first != PASSED and STOPPING & set(options)):
        return first
    spread = ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]
    second = _pytest([*options, *spread, *_paths([*FIRST, *_others()])], began_s, str(cores // processes))
    if first != PASSED:
        print(f"failed, see above: tests of {', '.join(ALONE)}")
    return first or second


def _others() -> list[str]:
    """Folders and files with tests that are in neither list."""
    found = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}
    return sorted(found - {*ALONE, *FIRST})


def _paths(names: Iterable[str]) -> list[str]:
    return [str(TESTS / name) for name in names]


def _pytest(arguments: list[str], began_s: float, threads: str | None = None) -> int:
    """Its exit code; with `threads`, what OpenMP and BLAS may use: more of them than cores wait for each other."""
    environment = dict(os.environ) if threads is None else {"OMP_NUM_THREADS": threads, **os.environ}
    if "TEST_MINUTES" in environment:
        environment["TEST_MINUTES"] = str(float(environment["TEST_MINUTES"]) - (time.monotonic() - began_s) / 60)
    command = [sys.executable, "-m", "pytest", *RETRIES, *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
