"""Code in an interpreter of its own, which has imported nothing yet."""

from __future__ import annotations

import subprocess
import sys


def run_fresh(code: str) -> str:
    """What the code prints; an AssertionError with what it says on stderr where it fails."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
