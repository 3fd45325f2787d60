"""Commands of the training without the 5 s that each would spend on importing TensorFlow.

A process imports the training, and nothing of TensorFlow's runtime, and forks a child for each command: the child has
the command's arguments, environment, streams and exit code, and everything that TensorFlow makes is its own. Tests of
signals, of several machines and of other backends start processes of their own instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.conftest import REPO

LINE = [sys.executable, "-m", "tests.training.tiny"]
"""What a command begins with; a module of the training and its arguments follow."""


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
        assert list(command[:3]) == LINE
        with tempfile.TemporaryDirectory() as folder:
            streams = [f"{folder}/out", f"{folder}/err"]
            asked = {"arguments": command[2:], "environment": {**os.environ, **(environment or {})}, "streams": streams}
            try:
                code = self._ask(json.dumps(asked))
            except BaseException:  # a test that takes too long: the child is not to be heard in the next one
                self._end()
                raise
            out, err = (Path(stream).read_text() for stream in streams)
        return subprocess.CompletedProcess(list(command), code, out, err)

    def _ask(self, line: str) -> int:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
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


def _serve() -> None:
    """Fork a child for each line of standard input, and answer with its exit code."""
    from tests.training import tiny

    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            os._exit(_child(tiny.main, **asked))
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
