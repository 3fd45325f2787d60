"""Commands of the training without the 5 s that each would spend on importing TensorFlow.

A process imports the training, and nothing of TensorFlow's runtime, and forks a child for each command: the child has
the command's arguments, environment, streams and exit code, and everything that TensorFlow makes is its own. Tests of
several machines and of other backends start processes of their own instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.conftest import REPO

LINE = [sys.executable, "-m", "tests.training.tiny"]
"""What a command begins with; a module of the training and its arguments follow."""
PATIENCE_S = 600.0  # for a command on a busy machine


class Forks:
    """Runs commands in children of a process that has imported the training."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that begins with `LINE`, with these variables besides ours."""
        return self._run(command, environment or {}, None)

    def kill(self, command: Sequence[str], once: Callable[[], bool]) -> None:
        """Run such a command, and kill it once that is so; it must not have ended before."""
        killed = self._run(command, {}, once)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]

    def _run(
        self, command: Sequence[str], environment: Mapping[str, str], kill_once: Callable[[], bool] | None
    ) -> subprocess.CompletedProcess[str]:
        assert list(command[:3]) == LINE
        with tempfile.TemporaryDirectory() as folder:
            streams = [f"{folder}/out", f"{folder}/err"]
            asked = {"arguments": command[2:], "environment": {**os.environ, **environment}, "streams": streams}
            try:
                code = self._ask(json.dumps(asked), kill_once)
            except BaseException:  # a test that takes too long: the child is not to be heard in the next one
                self._end()
                raise
            out, err = (Path(stream).read_text() for stream in streams)
        return subprocess.CompletedProcess(list(command), code, out, err)

    def _ask(self, line: str, kill_once: Callable[[], bool] | None) -> int:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        if kill_once is not None:
            _kill(child, kill_once)
        return int(process.stdout.readline())

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.training.forked"],
            cwd=REPO,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _end(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.communicate()
            self._process = None


def _kill(child: int, once: Callable[[], bool]) -> None:
    """Kill a child once that is so, unless it ended before."""
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.suppress(ProcessLookupError):
        while not once():
            os.kill(child, 0)  # raises where it has ended
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)


def _serve() -> None:
    """Fork a child for each line of standard input, and answer with its number and then its exit code."""
    from tests.training import tiny

    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            os._exit(_child(tiny.main, **asked))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _child(main: Callable[[], None], arguments: list[str], environment: dict[str, str], streams: list[str]) -> int:
    for number, stream in enumerate([os.devnull, *streams]):
        opened = os.open(stream, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = arguments
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:  # noqa: BLE001  (as an interpreter does)
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve()
