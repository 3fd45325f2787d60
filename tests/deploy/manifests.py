"""What several tests read from files under ``deploy/``."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPO
from tests.integration.conftest import run_command

Manifest = dict[str, Any]
CONTAINERFILE = REPO / "deploy" / "container" / "Containerfile"
IMAGE = "securesplit-tail"
REQUESTS, METRICS = 5555, 9464


def kubectl() -> str:
    """The program; without it the test is skipped. Of two the one that a package brings is the newer."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("kubectl", path=beside) or shutil.which("kubectl")
    if found is None:
        pytest.skip("needs kubectl, which the extra `deploy` brings")
    return found


def render(folder: Path) -> list[Manifest]:
    """The manifests that ``kubectl apply -k`` would send."""
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def flags_of_tail_worker() -> set[str]:
    """Those that its help shows."""
    return set(re.findall(r"^  (--[\w-]+)", run_command("tail-worker", "--help").stdout, re.MULTILINE))
