"""What a process of ours that only computes is started with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PASSED_ON = (
    "PATH", "LANG", "LC_", "TZ", "LD_", "DYLD_", "PYTHON", "VIRTUAL_ENV", "COVERAGE", "MALLOC_", "GLIBC_", "SYSTEMROOT",
)  # fmt: skip
"""Beginnings of names of the variables that it gets: none that may be a secret, or a way to another service."""

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Libraries that are only loaded need no threads, each of which takes address space."""


def child_environment() -> dict[str, str]:
    """The variables of this process that a child needs, and this process's import path."""
    passed_on = {name: value for name, value in os.environ.items() if name.upper().startswith(_PASSED_ON)}
    return passed_on | _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
