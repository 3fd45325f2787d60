"""Peers' programs as processes: started in their environment, asked line by line, ended with all they started."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import LOOPBACK
from benchmarks.peers.registry import Program
from benchmarks.performance import process_tree

LOGS = Path("build/bench/logs")
_REPO = Path(__file__).resolve().parents[2]
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "RAY_USAGE_STATS_ENABLED": "0", "BENTOML_DO_NOT_TRACK": "true"}
_ENDING_S = 10.0
STARTING_S = 180.0


class PeerError(Exception):
    """A peer's program ended or did not answer; the message says so in a line."""


class Running:
    """A program that runs.

    Args:
        python: the interpreter of its environment; None: this one.
        program: what to run.
        inputs: folder.
        port: of the server; 0: there is none.
    """

    def __init__(self, python: Path | None, program: Program, inputs: Path, port: int) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log = LOGS / f"{program.module}-{program.word}.log"
        module = f"benchmarks.peers.{program.module}"
        command = [
            str(python or sys.executable),
            "-m",
            module,
            program.word,
            str(inputs.resolve()),  # some change their working folder
            *([str(port)] if port else []),
        ]
        self.started_s = time.monotonic()
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # signals and shares of the processor are its own
                env={**os.environ, **_QUIET, "PYTHONPATH": str(_REPO)},
            )
        self.pid = self._process.pid

    def ask(self, line: str, *, of: Running | None = None) -> dict[str, Any]:
        """Send a line, and wait for the line of JSON that answers it.

        Args:
            line: of standard input.
            of: the server that it asks; None: whether that one still runs is not watched.

        Raises:
            PeerError: one of them ended, or there is no answer.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self._complaint()) from None
        return self.answer(of=of)

    def answer(self, *, of: Running | None = None) -> dict[str, Any]:
        """The next line of JSON; what a library prints besides is passed over. Arguments and errors as of `ask`."""
        assert self._process.stdout is not None
        end = time.monotonic() + STARTING_S
        while True:
            if not select.select([self._process.stdout], [], [], 1.0)[0]:
                if of is not None:
                    of.check()
                if time.monotonic() > end:
                    raise PeerError(f"no answer within {STARTING_S:g} s")
                continue
            line = self._process.stdout.readline()
            if not line:
                raise PeerError(self._complaint())
            if line.startswith("{"):
                return dict(json.loads(line))

    def listens(self, port: int) -> None:
        """Wait until it does."""
        while time.monotonic() < self.started_s + STARTING_S:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
                return
            time.sleep(0.02)
        raise PeerError(f"it did not listen within {STARTING_S:g} s")

    def check(self) -> None:
        """Raise PeerError where it has ended."""
        if self._process.poll() is not None:
            raise PeerError(self._complaint())

    def end(self) -> None:
        """It and all that it started."""
        pids = process_tree.tree(self.pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING_S)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _complaint(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"it ended: {lines[-1][:160]}" if lines else "it ended"


@contextlib.contextmanager
def running(python: Path | None, program: Program, inputs: Path, port: int = 0) -> Iterator[Running]:
    """A program, ended with the context."""
    started = Running(python, program, inputs, port)
    try:
        yield started
    finally:
        started.end()
