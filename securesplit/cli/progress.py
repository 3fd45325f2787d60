"""Progress of a batch, or of an upload of keys, on one line that is overwritten; a batch's summary; all on stderr."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from securesplit.cli import terminal
from securesplit.device.upload_progress import UploadProgress, time_left
from securesplit.errors import SecureSplitError
from securesplit.i18n import gettext as _
from securesplit.i18n import ngettext
from securesplit.results import Diagnosis, Refusal

LEAST_KNOWN = 3
"""Photos after which the time that is left is estimated."""
EVERY_S = 5.0
"""So often an upload says how far it is; a shorter one says nothing."""


class Tally:
    """The results of a batch.

    Args:
        total: photos; one alone needs neither progress nor summary.
        clock: seconds.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._clock = total, clock
        self._started = clock()
        self._counts: Counter[str] = Counter()

    def announce(self, number: int) -> None:
        """Say which photo is next; a folder may have got more of them since they were counted."""
        self._total = max(self._total, number)
        if self._total > 1:
            terminal.progress(self.line(number))

    def add(self, result: Diagnosis | Refusal | SecureSplitError) -> None:
        """Count a photo's result."""
        if isinstance(result, Diagnosis):
            self._counts["answered"] += 1
            self._counts[result.risk or "chance"] += 1
        else:
            self._counts["refused" if isinstance(result, Refusal) else "failed"] += 1

    def add_earlier(self) -> None:
        """Count a photo that an earlier run has answered."""
        self._counts["earlier"] += 1

    def add_untried(self, n: int) -> None:
        """Count photos that were given up."""
        self._counts["untried"] += n

    def line(self, number: int) -> str:
        """Which photo is next, the results so far, and how long the rest will take."""
        here = _("photo {number} of {total}", number=number, total=self._total)
        return ", ".join([here, *self._parts("raised", "refused", "failed"), *self._left(number)])

    def end(self) -> None:
        """Print the summary."""
        terminal.progress("")
        if self._total > 1:
            terminal.note(self.summary())

    def summary(self) -> str:
        """The results of all photos."""
        photos = ngettext("{n} photo", "{n} photos", self._total)
        risks = ", ".join(self._parts("raised", "borderline", "low", "chance"))
        answered = _("{n} answered", n=self._counts["answered"])
        if risks:
            answered = _("{answered} ({risks})", answered=answered, risks=risks)
        parts = ", ".join([answered, *self._parts("refused", "failed", "untried", "earlier")])
        return _("{photos}: {parts}", photos=photos, parts=parts)

    @property
    def _done(self) -> int:
        return sum(self._counts[what] for what in ("answered", "refused", "failed"))

    def _parts(self, *whats: str) -> list[str]:
        said: dict[str, Callable[[int], str]] = {
            "raised": lambda n: _("{n} raised", n=n),
            "borderline": lambda n: _("{n} borderline", n=n),
            "low": lambda n: _("{n} low", n=n),
            "chance": lambda n: _("{n} without a label", n=n),
            "refused": lambda n: _("{n} refused", n=n),
            "failed": lambda n: _("{n} failed", n=n),
            "untried": lambda n: _("{n} not tried", n=n),
            "earlier": lambda n: _("{n} answered before", n=n),
        }
        return [said[what](self._counts[what]) for what in whats if self._counts[what]]

    def _left(self, number: int) -> list[str]:
        if self._done < LEAST_KNOWN:
            return []
        return [time_left((self._clock() - self._started) / self._done * (self._total - number + 1))]


class ShownUpload(UploadProgress):
    """Writes now and then how far the upload is.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._said = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Take what is said, and say it, unless that was lately."""
        before = self.since
        super().emit(record)
        now = self._clock()
        if self.is_over or self.since != before:
            self._said = now
            terminal.progress("")
        elif now - self._said >= EVERY_S and (line := self.line()):
            self._said = now
            terminal.progress(line)
