"""Mutation testing of what privacy and sealing rest on: a change that no test notices is a fault of the tests.

    python -m tests.mutation                                   # all of it
    python -m tests.mutation --minutes 4 'securesplit.privacy.exact*' 'securesplit.privacy.noise*'

mutmut makes the mutants and runs the tests that reach each of them; what is mutated and tested stands in
``[tool.mutmut]``. It resumes where it stopped. Some mutants change nothing that anyone could notice, such as a
margin that is wider than it must be: survivors are printed to be read, and too few killed ones are a failure.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections import Counter

ALIVE = frozenset({"survived", "no tests", "suspicious"})
DEAD = frozenset({"killed", "timeout", "segfault"})
LEAST_SHARE = 0.8
"""Of the judged mutants, those that tests must kill."""


def run(names: list[str], minutes: float | None) -> None:
    """Judge mutants, all or those with these names, for so long at most."""
    command = [sys.executable, "-m", "mutmut", "run", *names]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            process.wait(None if minutes is None else 60 * minutes)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            print(f"\nstopped after {minutes:g} minutes")


def verdicts() -> dict[str, str]:
    """What is known of each mutant so far, by its name."""
    command = [sys.executable, "-m", "mutmut", "results", "--all", "true"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^\s+(\S+): (.+)$", listed, re.MULTILINE))


def main() -> int:
    """Command line; 1 where too many mutants survived, or none was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="stop after so long; what was not reached is counted")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants or functions, * for any text")
    arguments = parser.parse_args()
    run(arguments.names, arguments.minutes)
    found = verdicts()
    counts = Counter(found.values())
    print("\n".join(f"{count:>6} {verdict}" for verdict, count in counts.most_common()))
    for name in sorted(name for name, verdict in found.items() if verdict in ALIVE):
        print(f"survived: {name}  (python -m mutmut show {name})")
    dead, alive = (sum(counts[verdict] for verdict in kind) for kind in (DEAD, ALIVE))
    return 0 if dead and dead >= LEAST_SHARE * (dead + alive) else 1


if __name__ == "__main__":
    sys.exit(main())
