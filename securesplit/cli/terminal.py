"""The one border between this program and a terminal: all text that a command writes passes through here.

- ``answer`` and ``answer_json`` write a line to stdout, ``note`` to stderr. One call is one line whatever the text
  holds: names of files, of certificates and of peers cannot start another one (`securesplit.text.printable`).
- An answer that cannot be written is an error (`OutputError`); a note that cannot be written is dropped.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from securesplit.errors import OutputError
from securesplit.i18n import gettext as _
from securesplit.text import json_line, printable


def answer(line: object = "") -> None:
    """Write one line to stdout.

    Raises:
        OutputError: nothing takes it: a full disk, a closed descriptor, a reader that is gone.
    """
    write_answer(printable(line) + "\n")


def answer_json(value: Any) -> None:
    """Write one JSON object to stdout, on a line of its own; raises as `answer` does."""
    write_answer(json_line(value) + "\n")


def write_answer(text: str) -> None:
    """Write text that is safe already; raises as `answer` does."""
    try:
        if sys.stdout is None:
            raise OutputError("stdout is closed")
        sys.stdout.write(_encodable(text, sys.stdout.encoding))
        sys.stdout.flush()
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
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def note(line: object) -> None:
    """Write one line to stderr, where there is one that takes it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or never there (None)
        sys.stderr.write(_encodable(printable(line), sys.stderr.encoding) + "\n")
        sys.stderr.flush()


def show_error(message: str, hint: str) -> None:
    """Write ``error:`` and, where there is one, ``hint:`` to stderr."""
    note(_("error: {message}", message=message))
    if hint:
        note(_("hint: {hint}", hint=hint))


def _encodable(text: str, encoding: str | None) -> str:
    """With escapes for what the terminal's encoding does not have."""
    chosen = encoding or "utf-8"
    return text.encode(chosen, "backslashreplace").decode(chosen)
