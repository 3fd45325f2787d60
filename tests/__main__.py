"""The suite on all cores of this machine: ``python -m tests [OPTIONS OF PYTEST]``, which ``make test`` runs (ADR 150).

What takes the machine for itself comes first, one test after the other. Then folders whose tests measure time and wait
for most of it, in two processes a core, and then the rest, in one process a core that computes on that core; each
file's tests in one of them. ``TEST_MINUTES`` counts for all together.
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
ALONE = (
    *(f"faults/test_{name}.py" for name in ("balancer", "endless_message", "kills", "network", "ray")),
    "transport/test_bounds.py",
    "transport/test_forged.py",
    "worker/test_cores.py",
    "worker/test_flood.py",
)
TIMED = ("worker", "faults", "transport")
"""But for what of them is in `ALONE`. The rest would keep the cores busy beside them."""
FIRST = (
    *("channel", "integration", "browser", "training", "privacy", "model", "deploy", "device", "imaging", "interop"),
    *(f"test_{name}.py" for name in ("upgrading", "docs", "examples", "plugins", "readme")),
)
"""What forks comes before TensorFlow has threads; then slow tests, before their time is over, and so that none of them
is left for the end."""
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
    spread = [*options, "--dist", "loadfile", "--no-loadscope-reorder", "-n"]
    share, but = str(cores // processes), [f"--ignore={path}" for path in _paths(ALONE)]
    codes: dict[str, int] = {}
    for name, arguments, threads in (
        ("alone", [*options, *_paths(ALONE)], None),
        ("timed", [*spread, str(2 * processes), *but, *_paths(TIMED)], share),
        ("rest", [*spread, str(processes), *_paths([*FIRST, *_others()])], share),
    ):
        codes[name] = _pytest(arguments, began_s, threads)
        if codes[name] == INTERRUPTED or (codes[name] != PASSED and STOPPING & set(options)):
            break
    failed = [name for name, code in codes.items() if code != PASSED]
    if failed:
        print(f"failed, see above: tests of the part {', '.join(failed)}")
    return codes[failed[0]] if failed else PASSED


def _others() -> list[str]:
    """Folders and files with tests that are in neither list of folders."""
    found = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}
    return sorted(found - {*TIMED, *FIRST})


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
