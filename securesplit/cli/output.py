"""Where the results of ``securesplit diagnose`` go: text for people, or lines for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from securesplit import tracing, wording
from securesplit.cli import terminal
from securesplit.cli.json_csv import Stamp
from securesplit.errors import SecureSplitError
from securesplit.i18n import gettext as _
from securesplit.i18n import ngettext, translated
from securesplit.results import DISCLAIMER, Diagnosis, Refusal, Risk, error_to_json
from securesplit.wording import Words

COLOURS: dict[Risk | None, str] = {"low": "green", "borderline": "yellow", "raised": "red", None: "magenta"}


Result = Diagnosis | Refusal | SecureSplitError
"""What came of one photo."""


class Output(Protocol):
    """Where results go."""

    def result(self, photo: str, result: Result, stamp: Stamp | None) -> None:
        """One photo's result; `stamp` is of `records.stamp`."""

    def untried(self, photos: list[str], error: SecureSplitError) -> None:
        """The photos that were left when it was given up."""

    def end(self) -> None:
        """After the last photo."""

    def interrupted(self) -> None:
        """After the photo whose answer was the last that came, if any did."""


class Records:
    """A line a photo, for programs.

    Args:
        as_line: makes it of the JSON contract.
        write: takes it.
    """

    def __init__(self, as_line: Callable[[Mapping[str, Any]], str], write: Callable[[str], None]) -> None:
        self._as_line, self._write = as_line, write

    def result(self, photo: str, result: Result, stamp: Stamp | None) -> None:
        """One photo's result."""
        answer = error_to_json(photo, result) if isinstance(result, SecureSplitError) else result.to_json()
        self._write(self._as_line({**answer, "file": stamp}))

    def untried(self, photos: list[str], error: SecureSplitError) -> None:
        """The photos that were left when it was given up."""
        for photo in photos:
            self.result(photo, error, None)

    def end(self) -> None:
        """Nothing follows the last line."""

    def interrupted(self) -> None:
        """Nothing follows it then either."""


class Text:
    """For people, on stdout; `explain` adds who learned what."""

    def __init__(self, *, explain: bool) -> None:
        self._explain = explain
        self._has_shown = False

    def result(self, photo: str, result: Result, stamp: Stamp | None) -> None:  # noqa: ARG002  (of no interest here)
        """One photo's result."""
        self._has_shown = True
        if isinstance(result, Diagnosis):
            show(result, photo, explain=self._explain)
        elif isinstance(result, Refusal):
            show_refusal(result)
        else:
            terminal.answer(_("{photo}: no answer ({error})", photo=photo, error=translated(result.message)))

    def untried(self, photos: list[str], error: SecureSplitError) -> None:
        """The photos that were left when it was given up."""
        terminal.answer(
            ngettext(
                "{n} more photo: {error}", "{n} more photos: {error}", len(photos), error=translated(error.message)
            )
        )

    def end(self) -> None:
        """The disclaimer, once."""
        terminal.answer(_(DISCLAIMER))

    def interrupted(self) -> None:
        """The disclaimer under the answers so far, on stderr: whoever reads stdout may take nothing any more."""
        if self._has_shown:
            terminal.note(_(DISCLAIMER))


def show(diagnosis: Diagnosis, title: str, *, explain: bool) -> None:
    """An answer as people read it: what it means and what to do before any number."""
    words = Words.of(diagnosis, traced=tracing.is_on())
    terminal.heading(title, words.headline, COLOURS[diagnosis.risk])
    for line in (words.advice, *words.caveats, words.number, *words.meaning):
        terminal.answer(f"  {line}")
    for line in words.explanation if explain else ():
        terminal.answer(f"  {line}")


def show_refusal(refusal: Refusal, *, has_anyway: bool = True) -> None:
    """Why there is no answer, and what to do; `has_anyway`: whether the command can be told to ask all the same."""
    detail, advice, regardless = wording.refused(refusal)
    terminal.heading(refusal.photo, _("refused, {detail} ({reason})", detail=detail, reason=refusal.reason), "magenta")
    terminal.answer(f"  {advice}")
    if has_anyway:
        unsent = _("Nothing of the photo was sent: an answer would say nothing about the mole (--anyway gives it).")
    else:
        unsent = _("Nothing of the photo was sent: an answer would say nothing about the mole.")
    terminal.answer(f"  {unsent}")
    terminal.answer(f"  {regardless}")
