"""Every error that a user can meet, with its hint and its exit code.

An error's message says the cause and its hint the next step; both are meant for the person at the terminal. The exit
codes are part of the command line's contract:

====  ==========================================================
code  meaning
====  ==========================================================
0     every photo was diagnosed
1     an error of securesplit itself (please report it)
2     wrong usage of the command line, or a bad configuration
3     a photo could not be read
4     a photo was refused, and nothing was sent for it
5     keys or certificates are missing, broken or expired here
6     no worker answered in time
7     one side refused the other's identity
8     the worker could not compute an answer
9     the bundle is broken or does not fit
10    the privacy budget would be overspent, or the ledger cannot be used
11    an answer could not be written to stdout, or to the file of answers
12    an audit found a promise of a preset broken
13    an audit did not judge a promise, so it has not been kept either
130   interrupted
====  ==========================================================

A command that SIGTERM or SIGHUP ends cleans up and then dies by that signal: shells report 143 and 129.
"""

from __future__ import annotations

from typing import ClassVar


class SecureSplitError(Exception):
    """Base of all errors that are shown to people: a cause, a hint, an exit code.

    Args:
        message: the cause, in one sentence without a full stop.
        hint: what to do now; empty where there is nothing to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, tuple[object, ...], dict[str, object]]:
        """Pickle with the hint, which is keyword-only, and with what others have added, such as notes."""
        return (type(self), (self.message,), self.__dict__)


class ConfigError(SecureSplitError):
    """A setting is unknown, of the wrong type, or out of range."""

    exit_code = 2


class PhotoError(SecureSplitError):
    """A file is not a photo that can be read safely."""

    exit_code = 3


REFUSED = 4
"""Exit code where photos were refused (`securesplit.results.Refusal`) and nothing failed; a refusal is no error."""


class CredentialError(SecureSplitError):
    """Our own keys or certificates are missing, unreadable, or not valid."""

    exit_code = 5


class UnreachableError(SecureSplitError):
    """No worker answered before the deadline."""

    exit_code = 6


class TrustError(SecureSplitError):
    """The handshake ended because one side does not trust the other."""

    exit_code = 7


class WorkerError(SecureSplitError):
    """The worker answered that it could not compute this request."""

    exit_code = 8


class BundleError(SecureSplitError):
    """A model bundle is missing, altered, or of another kind than needed."""

    exit_code = 9


class BudgetError(SecureSplitError):
    """The release would spend more privacy than the budget allows, or the ledger cannot be used."""

    exit_code = 10


class OutputError(SecureSplitError):
    """An answer could not be written: the disk is full, or the reader of stdout is gone."""

    exit_code = 11

    @classmethod
    def of(cls, error: OSError | ValueError) -> OutputError:
        """What the system's refusal of stdout means."""
        if isinstance(error, BrokenPipeError):
            return cls("the program that read the answers is gone", hint="answers after that were not written")
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "stdout is closed"
        return cls(f"an answer could not be written ({reason})", hint="send stdout to a file or program that takes it")
