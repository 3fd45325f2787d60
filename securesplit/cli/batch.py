"""The photos of one command, in order: which are diagnosed, the progress, and what remains at the end."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securesplit.cli import terminal
from securesplit.cli.answers_file import AnswersFile
from securesplit.cli.json_csv import Stamp, stamp
from securesplit.cli.output import Result
from securesplit.cli.progress import Tally
from securesplit.i18n import gettext as _
from securesplit.i18n import ngettext, translated

if TYPE_CHECKING:
    from securesplit.device.client import Client
    from securesplit.imaging import Listing, PhotoSource


@dataclass(frozen=True)
class Asked:
    """A photo that is asked about.

    Attributes:
        name: as results call it.
        number: in the listing, from 1 on.
        stamp: size and time of change, from before it was read.
    """

    name: str
    number: int
    stamp: Stamp | None


class Batch:
    """Photos, those left out that a file of answers has.

    Args:
        photos: to walk.
        file: of earlier answers; None: all photos are asked about.
    """

    def __init__(self, photos: Listing, file: AnswersFile | None) -> None:
        self._photos, self._file = photos, file
        self._total = photos.count()
        self._tally = Tally(self._total)
        self._waiting: deque[Asked] = deque()

    def results(self, client: Client) -> Iterator[tuple[Asked, Result]]:
        """Photo by photo; each is announced before it is waited for."""
        feed = self._unanswered()
        first = list(itertools.islice(feed, 1))
        results = client.diagnose_many(itertools.chain(first, feed))
        while self._waiting:
            self._tally.announce(self._waiting[0].number)
            _photo, result = next(results)
            self._tally.add(result)
            yield self._waiting.popleft(), result

    def _unanswered(self) -> Iterator[PhotoSource]:
        for photo, asked in self._walk():
            if self._was_answered(asked):
                self._tally.add_earlier()
            else:
                self._waiting.append(asked)
                yield photo

    def _walk(self, after: int = 0) -> Iterator[tuple[PhotoSource, Asked]]:
        from securesplit.imaging import photo_name

        for number, photo in enumerate(itertools.islice(self._photos, after, None), after + 1):
            yield photo, Asked(photo_name(photo), number, stamp(photo))

    def _was_answered(self, asked: Asked) -> bool:
        return self._file is not None and self._file.has(asked.name, asked.stamp)

    def located(self, asked: Asked, message: str) -> str:
        """The message, with the number of the photo where there are several; notes hold no names of files."""
        if self._total == 1:
            return message
        return _("photo {number}: {message}", number=asked.number, message=translated(message))

    def give_up(self, last: Asked) -> list[str]:
        """The names of the photos after `last` that have no answer."""
        left = [asked.name for _photo, asked in self._walk(last.number) if not self._was_answered(asked)]
        self._tally.add_untried(len(left))
        return left

    def end(self) -> None:
        """Print the summary."""
        self._tally.end()
        if n := self._photos.passed_over:
            terminal.note(
                ngettext(
                    "{n} file was passed over: hidden, or no photo",
                    "{n} files were passed over: hidden, or no photos",
                    n,
                )
            )
