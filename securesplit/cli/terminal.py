"""The one border between this program and a terminal: all text that a command writes passes through here.

- ``answer`` and ``answer_json`` write a line to stdout, ``note`` to stderr. One call is one line whatever the text
  holds: names of files, of certificates and of peers cannot start another one (`securesplit.text.printable`).
- An answer that cannot be written is an error (`OutputError`); a note that cannot be written is dropped.
- While a command runs, stdout is for its answers alone: what plugins and libraries print goes to stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

from securesplit.errors import OutputError
from securesplit.i18n import gettext as _
from securesplit.i18n import translated
from securesplit.text import json_line, printable, shortened

_USUAL_COLUMNS = 80


_kept: list[TextIO | None] = []
"""The stdout of a command that runs; None where it is closed."""


def _stdout() -> TextIO | None:
    return _kept[-1] if _kept else sys.stdout


@contextlib.contextmanager
def stdout_for_answers() -> Iterator[None]:
    """Inside, only this module writes to stdout; what others print goes to stderr, among the notes."""
    _kept.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _kept.pop()


def answer(line: object = "") -> None:
    """Write one line to stdout.

    Raises:
        OutputError: nothing takes it: a full disk, a closed descriptor, a reader that is gone.
    """
    write_answer(printable(line) + "\n")


def heading(title: object, words: str, colour: str) -> None:
    """Write ``title: words`` to stdout, the words in bold and colour where the terminal has it; raises as `answer`."""
    said = printable(words)
    if has_colour(_stdout()):
        said = click.style(said, fg=colour, bold=True)
    write_answer(f"{printable(title)}: {said}\n")


def has_colour(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that shows colour, and nobody wants none (https://no-color.org)."""
    return _obeys(stream) and not os.environ.get("NO_COLOR")


def _obeys(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that takes escape sequences; of Windows' own the newer one does."""
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return os.name == "posix" or "WT_SESSION" in os.environ


def answer_json(value: Any) -> None:
    """Write one JSON object to stdout, on a line of its own; raises as `answer` does."""
    write_answer(json_line(value) + "\n")


def write_answer(text: str) -> None:
    """Write text that is safe already; raises as `answer` does."""
    try:
        stream = _stdout()
        if stream is None:
            raise OutputError("stdout is closed")
        if _line.is_shown and stream.isatty():
            _line.show("")
        stream.write(_encodable(text, stream.encoding))
        stream.flush()
    except (OSError, ValueError) as error:
        raise OutputError.of(error) from None


def ask(question: str) -> bool | None:
    """Ask a question on the terminal whose answer is no unless it is yes.

    Returns:
        None where nobody is there to answer: input or stderr is not a terminal.
    """
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        return None
    sys.stderr.write(_encodable(printable(question), sys.stderr.encoding) + " [y/N] ")
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except (OSError, ValueError):  # the terminal is gone, or what was typed is no text
        return False


def note(line: object) -> None:
    """Write one line to stderr, where there is one that takes it."""
    _note(line)


def _note(line: object, colour: str | None = None) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or never there (None)
        if _line.is_shown:
            _line.show("")
        text = _encodable(printable(line), sys.stderr.encoding)
        sys.stderr.write((text if colour is None else click.style(text, fg=colour)) + "\n")
        sys.stderr.flush()


def progress(line: str) -> None:
    """Write one line to stderr, over the one before where a terminal can do that; an empty one takes it away."""
    with contextlib.suppress(OSError, ValueError):
        if _obeys(sys.stderr):
            _line.show(line)
        elif line:
            note(line)


class _ProgressLine:
    """The line of a terminal that is written over; any other line takes its place."""

    is_shown = False

    def show(self, line: str) -> None:
        most = _columns(sys.stderr) - 1  # a full line would make some terminals begin another
        sys.stderr.write("\r\x1b[K" + _encodable(shortened(printable(line), most), sys.stderr.encoding))
        sys.stderr.flush()
        self.is_shown = bool(line)


_line = _ProgressLine()


def help_width() -> int:
    """Columns for the text of ``--help``, as click chooses them."""
    return max(min(_columns(sys.stdout), _USUAL_COLUMNS) - 2, 50)


def _columns(stream: Any) -> int:
    """The width of the terminal behind a stream.

    `shutil` would ask the stdout that the process began with, which `process.prepare` has replaced.
    """
    if (said := os.environ.get("COLUMNS", "")).isdecimal() and int(said):
        return int(said)
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no stream, no terminal, closed
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    return _USUAL_COLUMNS


def show_error(message: str, hint: str) -> None:
    """Write ``error:`` and, where there is one, ``hint:`` to stderr, in red and in the language of this run."""
    colour = "red" if has_colour(sys.stderr) else None
    _note(_("error: {message}", message=translated(message)), colour)
    if hint:
        note(_("hint: {hint}", hint=translated(hint)))


def _encodable(text: str, encoding: str | None) -> str:
    """With escapes for what the terminal's encoding does not have."""
    chosen = encoding or "utf-8"
    return text.encode(chosen, "backslashreplace").decode(chosen)
