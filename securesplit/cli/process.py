"""What the command line does to its own process, once, before any thread: descriptors, stdout, signals.

Only the entry point (`securesplit.cli.main.main`) calls this; a program that uses the package as a library keeps its
descriptors, streams and signals as they are.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Final, NoReturn

from securesplit.errors import OutputError

_STANDARD: Final = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
"""How to open what is missing of stdin, stdout and stderr. The first two the wrong way round, so that reading and
writing fail as they should; a note that nobody can see may go nowhere."""
_AGAIN_S: Final = 0.02
_ENDING: Final = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


def prepare() -> None:
    """Make descriptors 0 to 2 this process's own, and answers that are not taken errors.

    Answers get a descriptor that nobody else knows: what a library or a child writes to 1 goes to stderr.
    """
    _open_missing()
    encoding = "utf-8" if sys.stdout is None else sys.stdout.encoding
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Line ends stay as they are written: csv has its own.
    sys.stdout = _Answers(answers, encoding=encoding, errors="backslashreplace", newline="")


def _open_missing() -> None:
    """Where a caller has closed one of them, a key file or a socket would get its number, and be written to."""
    for descriptor, flags in enumerate(_STANDARD):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


class _Answers(io.TextIOWrapper):
    """Stdout, whose refusals are `OutputError` whoever writes: click ends with exit code 1 at a broken pipe."""

    def write(self, text: str) -> int:
        with _refusals():
            return super().write(text)

    def flush(self) -> None:
        with _refusals():
            super().flush()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise OutputError.of(error) from None


class Signals:
    """Ends a command by KeyboardInterrupt, whichever signal asks for it, and remembers which one it was."""

    def __init__(self) -> None:
        self.received: int | None = None

    def watch(self, *, keep_hangup_waiting: bool) -> None:
        """Handle what this process does not ignore already, as under nohup or in a shell's background.

        Args:
            keep_hangup_waiting: SIGHUP goes on waiting, for a command that handles it itself once it can.
        """
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        sys.unraisablehook = self._on_unraisable
        if not keep_hangup_waiting and hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _on_signal(self, number: int, _frame: object) -> None:
        if self.received is not None:  # the second one: at once
            os._exit(128 + number)
        self.received = number
        raise KeyboardInterrupt

    def _on_unraisable(self, event: sys.UnraisableHookArgs) -> None:
        """An interrupt that fell into a callback of a library, where exceptions end unseen, comes again after it."""
        if isinstance(event.exc_value, KeyboardInterrupt) and self.received is not None:
            number, self.received = self.received, None
            again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            sys.__unraisablehook__(event)

    def ignore(self) -> None:
        """All is said and the exit code is the right one: Ctrl-C changes nothing any more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def leave(self, code: int) -> NoReturn:
        """Leave the process with `code`, or by SIGTERM or SIGHUP where one of them ended the command.

        After Ctrl-C Python must not: where the interrupt went through an ``exec`` it would die by the signal.
        """
        if self.received is None:
            sys.exit(code)
        if self.received != signal.SIGINT:
            signal.signal(self.received, signal.SIG_DFL)
            signal.raise_signal(self.received)
        os._exit(code)


def give_up_unwritten() -> None:
    """What was not taken must not become Python's own exit code at its last flush, 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except (OSError, ValueError, OutputError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
