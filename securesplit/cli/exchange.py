"""What both sides of enrolment share: files that travel, ``-`` for a pipe, and fingerprints that people compare."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from securesplit.cli import param_types, terminal
from securesplit.errors import CredentialError, TrustError

Command = TypeVar("Command", bound=Callable[..., Any])

PIPE = Path("-")  # in place of a file: standard input, or standard output
_GROUP = 8  # hex digits that are read aloud at a time


def server_name_option(what: str) -> Callable[[Command], Command]:
    """``--server-name``, as the argument `server_names`; `what` is its line in ``--help``."""
    return click.option(
        "--server-name",
        "server_names",
        type=param_types.SERVER_NAME,
        multiple=True,
        metavar="NAME",
        help=what,
    )


def fingerprint_option(what: str) -> Callable[[Command], Command]:
    """``--fingerprint``, which people compare; `what` is its line in ``--help``."""
    return click.option(
        "--fingerprint",
        type=param_types.FINGERPRINT,
        metavar="SHA256",
        help=f"{what}.  [default: asks at a terminal]",
    )


def format_fingerprint(fingerprint: str) -> str:
    """A fingerprint as people compare it, and as ``--fingerprint`` takes it: groups of 8 digits."""
    return "-".join(fingerprint[at : at + _GROUP] for at in range(0, len(fingerprint), _GROUP))


def read_input(path: Path, most_bytes: int) -> bytes:
    """A file that came from another machine, or standard input, up to one byte more than it may have.

    Raises:
        CredentialError: it is missing, unreadable, closed, or not a file.
    """
    from securesplit.pki import folder

    if path != PIPE:
        return folder.read_foreign(path, most_bytes)
    try:
        return sys.stdin.buffer.read(most_bytes + 1)
    except (AttributeError, OSError, ValueError) as error:  # never there (None), for writing alone, closed
        why = getattr(error, "strerror", None) or "it is closed"
        hint = "pipe the file into the command, or name it in the place of -"
        raise CredentialError(f"standard input cannot be read: {why}", hint=hint) from None


def display_name(path: Path) -> str:
    """What messages call it."""
    return "standard input" if path == PIPE else str(path)


def report(lines: list[str], *, aside: bool) -> None:
    """Write lines to stdout, or to stderr where stdout carries the file."""
    for line in lines:
        (terminal.note if aside else terminal.answer)(line)


def confirm_fingerprint(actual: str, given: str | None, *, what: str, shown_by: str) -> None:
    """Have a fingerprint compared: with ``--fingerprint``, else by the user at the terminal.

    In a script that gives none nobody can be asked, and a warning says so.

    Raises:
        TrustError: they differ, or the person said so.
    """
    from securesplit.pki import lists

    hint = f"somebody may have swapped the file; bring it again, and compare {what} with what {shown_by} shows"
    if given is not None:
        if lists.fingerprint_digits(given) != actual:
            shown = format_fingerprint(actual)
            raise TrustError(f"{what} has another fingerprint than --fingerprint: {shown}", hint=hint)
        return
    same = terminal.ask(f"does {shown_by} show this fingerprint?  {format_fingerprint(actual)}")
    if same is None:
        terminal.note(f"warning: nobody compared {what}; give --fingerprint with what {shown_by} shows")
    elif not same:
        raise TrustError(f"{what} was not confirmed, and nothing was written", hint=hint)
