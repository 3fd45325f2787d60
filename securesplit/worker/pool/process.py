"""Tails as processes of this machine, and the front's handle on one.

The process is started fresh (no fork), from this interpreter and with this process's import path, and shares one thing
with us: a socket that is its standard input. Its settings, batches and reports travel on it. While we hold our end it
lives; when it dies our end is readable.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from securesplit.child_env import child_environment
from securesplit.version import own_version
from securesplit.worker.ipc.messages import Batch, EncryptedBatch, Report
from securesplit.worker.ipc.pipe import FrontPipe
from securesplit.worker.key_arena import KeyArena
from securesplit.worker.pool.tails import Tail, Tails
from securesplit.worker.resources import ResidentMemory
from securesplit.worker.settings import EngineSpec, PoolSettings

_EXIT_S = 0.1  # from the end of a process's pipe to its status: under 1 ms, on a busy machine more


class LocalTails(Tails):
    """Starts tail processes on this machine.

    Args:
        engine: what they run.
        settings: of the pool.
        arena: of evaluation keys, which they read; needed where the engine takes ciphertexts.
    """

    def __init__(self, engine: EngineSpec, settings: PoolSettings, arena: KeyArena | None) -> None:
        self._engine, self._settings, self._arena = engine, settings, arena
        self._version = own_version()  # of the program that runs, whatever is installed later

    def start(self, name: str, core: int | None) -> TailProcess:
        """Start one.

        Raises:
            OSError: no descriptor, process or memory is left.
        """
        shown, confine = self._settings.show_tail_errors, self._settings.confine
        return TailProcess(
            name,
            self._engine,
            version=self._version,
            show_errors=shown,
            core=core,
            confine=confine,
            arena=self._arena,
        )

    def close(self) -> None:
        """Nothing serves them but themselves."""


class PipedTail(Tail):
    """A tail behind a pair of sockets.

    Args:
        name: for people.

    Raises:
        OSError: no descriptor is left.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._pipe = FrontPipe()

    @property
    def readable(self) -> int:
        """A descriptor that becomes readable with a report, and when the tail is gone (for a `Poller`)."""
        return self._pipe.readable

    @property
    def must_write(self) -> bool:
        """Whether the tail has not taken all of what was sent."""
        return self._pipe.must_write

    def send(self, batch: Batch | EncryptedBatch) -> None:
        """Hand over a batch, without waiting; where the tail is gone `receive` raises."""
        self._pipe.send(batch.encode())

    def flush(self) -> None:
        """Hand over more of what was sent."""
        self._pipe.flush()

    def receive(self) -> list[Report]:
        """What it has reported since the last call.

        Raises:
            PipeError: it is gone, or sends something that is not a report.
        """
        return [Report.decode(message) for message in self._pipe.receive()]


class TailProcess(PipedTail):
    """A started process.

    Args:
        name: for people; unique in its pool.
        engine: what it runs.
        version: of this program, which the tail's must be.
        show_errors: let it write to our stderr.
        core: the only one that it may run on; None: as this process.
        confine: let it do nothing but compute (``sandbox/``).
        arena: of evaluation keys, which it reads; needed where the engine takes ciphertexts.

    Raises:
        OSError: it cannot be started now: no descriptor, process or memory is left.
    """

    def __init__(
        self,
        name: str,
        engine: EngineSpec,
        *,
        version: str,
        show_errors: bool,
        core: int | None = None,
        confine: bool = True,
        arena: KeyArena | None = None,
    ) -> None:
        super().__init__(name)
        inherited = () if arena is None else (arena.descriptor,)
        try:
            self._process = _start(self._pipe.theirs.fileno(), inherited, show_errors=show_errors)
        except OSError:
            self._pipe.close()
            raise
        self._memory = ResidentMemory(self._process.pid)
        self._pipe.hand_over()
        settings = {
            "version": version,
            "factory": engine.factory,
            "options": dict(engine.options),
            "readable": list(engine.readable),
            "encrypted": _encrypted(engine.encrypted, arena),
            "core": core,
            "confine": confine,
        }
        self._pipe.send((json.dumps(settings, allow_nan=False).encode(), b""))

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def resident_bytes(self) -> int:
        """The resident memory of the process; 0 where it has ended, or the system does not tell. From any thread."""
        return self._memory.read()

    def exit_cause(self) -> str:
        """What ended it; the system knows a moment after its pipe has closed, and waits for none that lives on."""
        try:
            code = self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            return ""
        named = {number.value: number.name for number in signal.Signals}
        return f"exit code {code}" if code >= 0 else named.get(-code, f"signal {-code}")

    def kill(self) -> None:
        """End the process now, hung or stopped or not; `is_gone` tells when the system has done so."""
        self._process.kill()
        self._pipe.close()
        self._memory.close()

    def is_gone(self) -> bool:
        """Whether the process has ended; collects its exit status, and never waits."""
        return self._process.poll() is not None

    def wait(self) -> None:
        """Wait until a killed process has ended."""
        self._process.wait()


def _encrypted(engine: EngineSpec | None, arena: KeyArena | None) -> dict[str, object] | None:
    """How the tail builds what takes ciphertexts, and where it finds their keys."""
    if engine is None or arena is None:
        return None
    options = dict(engine.options)
    return {"factory": engine.factory, "options": options, "descriptor": arena.descriptor, "size": arena.size}


def _start(theirs: int, inherited: tuple[int, ...], *, show_errors: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "securesplit.worker.tail"],
        stdin=theirs,
        pass_fds=inherited,
        stdout=subprocess.DEVNULL,
        stderr=None if show_errors else subprocess.DEVNULL,
        env=child_environment(),
        start_new_session=True,
    )
