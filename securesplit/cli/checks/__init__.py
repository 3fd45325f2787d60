"""What ``securesplit doctor`` looks at, a module a subject.

Every check is a generator of findings and continues after an error, so that one run shows all there is to fix. A check
changes nothing: it makes no folder, no key and no ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from securesplit.errors import CredentialError, SecureSplitError
from securesplit.pki.credentials import NOTICE, renew_from
from securesplit.text import counted

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: its subject, a word or two.
        level: "ok", "warning" (works today) or "error" (something will fail).
        message: what was found, in one sentence without a full stop.
        hint: what to do now; empty for "ok".
        exit_code: of the command if this is its first error; 0 unless an error.
    """

    check: str
    level: Level
    message: str
    hint: str = ""
    exit_code: int = 0


def ok(check: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, hint: str) -> Finding:
    """Something that works today."""
    return Finding(check, "warning", message, hint)


def failure(check: str, error: SecureSplitError) -> Finding:
    """An error as its exception says it."""
    return Finding(check, "error", error.message, error.hint, error.exit_code)


def explained(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check of the certs or the state folder, of which the system may keep a part from this user."""
    try:
        yield from look()
    except OSError as error:
        hint = "check its owner and permissions"
        yield failure(check, CredentialError(f"cannot look at {error.filename}: {error.strerror}", hint=hint))


def until(
    check: str, what: str, start: datetime, end: datetime, now: datetime, hint: str, *, notice: timedelta = NOTICE
) -> Finding:
    """How long something is still good; a warning from `renew_from` on. For what has ended, use `failure`."""
    days = (end - now).days
    message = f"{what}, until {end:%Y-%m-%d} ({counted(days, 'day')})"
    return warning(check, message, hint) if renew_from(start, end, notice=notice) <= now else ok(check, message)
