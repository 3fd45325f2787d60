"""The front's handle on one tail process.

The process is started anew (no fork), from this interpreter and with this process's import path, and shares one thing
with us: a socket that is its standard input. While we hold our end it lives; when it dies our end becomes readable.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from securesplit import errors
from securesplit.errors import SecureSplitError, WorkerError
from securesplit.worker.settings import EngineSpec

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class TailProcess:
    """A started tail.

    Args:
        name: unique in its pool.
        engine: what it runs.
        address: of the pool's socket.
        show_errors: let it write to our stderr.
        core: the only one that it may run on; None: as this process.

    Raises:
        OSError: it cannot be started now: no descriptor, process or memory is left.
    """

    def __init__(
        self, name: bytes, engine: EngineSpec, address: str, *, show_errors: bool, core: int | None = None
    ) -> None:
        self.name = name
        settings = {
            "name": name.decode(),
            "address": address,
            "factory": engine.factory,
            "options": dict(engine.options),
            "core": core,
        }
        self._lifeline, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start(theirs.fileno(), show_errors=show_errors)
        except OSError:
            self._lifeline.close()
            raise
        with contextlib.suppress(OSError):  # where it is dead already, its end of file says so
            self._lifeline.sendall(json.dumps(settings).encode() + b"\n")

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def readable(self) -> int:
        """A descriptor that becomes readable when the process has died (for a `Poller`)."""
        return self._lifeline.fileno()

    def last_words(self) -> SecureSplitError | None:
        """Why a dead tail could not start, if it could tell."""
        self._lifeline.setblocking(False)  # noqa: FBT003  (the standard library's signature)
        try:
            words = json.loads(self._lifeline.recv(65_536))
        except (OSError, ValueError):
            return None
        kind = getattr(errors, words["error"], None)
        if isinstance(kind, type) and issubclass(kind, SecureSplitError):
            return kind(words["message"], hint=words["hint"])
        return WorkerError(f"a tail cannot start ({words['error']}: {words['message']})", hint="check the installation")

    def kill(self) -> None:
        """End the process now, hung or stopped or not; `is_gone` tells when the system has done so."""
        self._process.kill()
        self._lifeline.close()

    def is_gone(self) -> bool:
        """Whether the process has ended; collects its exit status, and never waits."""
        return self._process.poll() is not None

    def wait(self) -> None:
        """Wait until a killed process has ended."""
        self._process.wait()


def _start(lifeline: int, *, show_errors: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "securesplit.worker.tail"],
        stdin=lifeline,
        stdout=subprocess.DEVNULL,
        stderr=None if show_errors else subprocess.DEVNULL,
        env={
            **os.environ,
            **_ONE_THREAD,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        },
        start_new_session=True,
    )
