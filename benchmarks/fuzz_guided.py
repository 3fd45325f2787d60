"""The fuzz targets under atheris, which follows coverage: ``python -m benchmarks.fuzz_guided --minutes 30``.

Each target gets an equal share of the time, in a process of its own. It begins with ``tests/fuzz/corpus`` and keeps
what it finds of interest under ``build/fuzz/corpus``, where the next run continues. Printed and saved: inputs, inputs a
second, the slowest one, how much the process grew after its start, and findings, whose inputs are kept under
``build/fuzz``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.arguments import need
from benchmarks.table import show
from securesplit_testing.fuzz import targets
from training import command

CORPUS, BUILD = Path("tests/fuzz/corpus"), Path("build/fuzz")
COLUMNS = ("target", "inputs", "inputs/s", "slowest s", "growth MiB", "coverage", "findings")
HANG_S = 10  # an input that takes longer is a finding; the machine may be busy


def main() -> int:
    """Run every chosen target; the exit code is 1 where one of them found something."""
    parser = command.parser(__doc__)
    parser.add_argument("--minutes", type=command.positive, default=1.0)
    parser.add_argument("--target", choices=targets.NAMES, action="append")
    chosen = parser.parse_args()
    need("fuzz", "atheris")
    names = chosen.target or targets.NAMES
    rows = [guided(name, round(60 * chosen.minutes / len(names))) for name in names]
    show("fuzz-guided", COLUMNS, rows)
    return int(any(row[-1] for row in rows))


def guided(name: str, seconds: int) -> list[object]:
    """One target for so long; its row."""
    corpus = BUILD / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    if (CORPUS / name).is_dir():
        shutil.copytree(CORPUS / name, corpus, dirs_exist_ok=True)
    before = set(BUILD.glob(f"{name}-*"))
    flags = [f"-max_total_time={seconds}", f"-timeout={HANG_S}", "-print_final_stats=1", "-max_len=4096"]
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), *flags]
    done = subprocess.run([*command, f"-artifact_prefix={BUILD}/{name}-"], capture_output=True, text=True, check=False)
    log = done.stderr
    (BUILD / f"{name}.log").write_text(log)
    found = len(set(BUILD.glob(f"{name}-*")) - before)
    print(f"{name}: exit code {done.returncode}, {found} findings", flush=True)
    inputs, speed, slowest, peak = (
        _last(rf"stat::{word}:\s+(\d+)", log)
        for word in ("number_of_executed_units", "average_exec_per_sec", "slowest_unit_time_sec", "peak_rss_mb")
    )
    growth = peak - _last(r"INITED.* rss: (\d+)Mb", log)
    failed = max(found, int(done.returncode != 0))
    return [name, f"{inputs:,}", speed, slowest, growth, _last(r"cov: (\d+)", log), failed]


def _last(pattern: str, log: str) -> int:
    return int((re.findall(pattern, log) or ["0"])[-1])


if __name__ == "__main__":
    sys.exit(main())
