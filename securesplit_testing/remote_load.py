"""A load in another network namespace, driven from here."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securesplit_testing.serving import REPO, wait_until


@dataclass
class RemoteLoad:
    """Clients elsewhere.

    Attributes:
        answered: how many answers there were so far.
        result: at the end: sent, lost and milliseconds.
    """

    process: subprocess.Popen[str]
    answered: int = 0
    result: dict[str, Any] = field(default_factory=dict)

    def read(self) -> None:
        """Follow what it says until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answered "):
                self.answered = int(line.split()[1])
            else:
                self.result = json.loads(line)

    def answers(self, more: int, within_s: float = 60.0) -> None:
        """Wait until so many more requests were answered."""
        goal = self.answered + more
        wait_until(lambda: self.answered >= goal, within_s)


@contextlib.contextmanager
def remote_load(
    inside: Sequence[str], endpoint: str, certs: Path, clients: int = 2, timeout_s: float = 60.0
) -> Iterator[RemoteLoad]:
    """Clients that ask until the end of the with statement, when `RemoteLoad.result` is filled.

    Args:
        inside: what runs a command in the namespace.
        endpoint: of the worker.
        certs: folder with the client ``device``.
        clients: how many.
        timeout_s: of one request.
    """
    command = [*inside, sys.executable, "-m", "securesplit_testing.run_load"]
    process = subprocess.Popen(
        [*command, endpoint, str(certs), str(clients), str(timeout_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    there = RemoteLoad(process)
    reader = threading.Thread(target=there.read)
    reader.start()
    try:
        yield there
    finally:
        assert process.stdin is not None
        process.stdin.close()
        reader.join(timeout_s + 30)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
