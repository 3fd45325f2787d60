"""A file of answers that grows line by line, and that an interrupted batch continues.

A photo counts as answered where the file has a line for its path, its size and its time of change, by the same model
with the same preset (by its earlier name too) and noise, or where the same model's gate refused it; an error never
counts. A line that a kill left unfinished is cut off before the first new one is written, so a file has whole lines
only; a file that does not begin as one of answers is left as it is.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self

from securesplit.atomic import is_in_place
from securesplit.cli import json_csv
from securesplit.cli.json_csv import Stamp
from securesplit.errors import ConfigError, OutputError
from securesplit.privacy.preset_names import current_name
from securesplit.results import SCHEMA
from securesplit.text import well_formed

Style = Literal["json", "csv"]
_COLUMNS: Final = tuple(json_csv.FIELDS)
_FIRST: Final = {
    "json": json_csv.json_record({"schema": SCHEMA}).rstrip("}\n").encode(),
    "csv": json_csv.csv_header().encode(),
}
"""How a file of answers begins."""


@dataclass(frozen=True)
class Query:
    """What makes an answer that was given before one that need not be asked for again.

    Attributes:
        model_id: of the bundle.
        preset: that is released.
        sigma_per_clip: its noise.
        anyway: photos that were refused are asked about.
    """

    model_id: str
    preset: str
    sigma_per_clip: float
    anyway: bool

    def answers(self, record: Mapping[str, str]) -> bool:
        """Whether a line of the file is such an answer."""
        if record["model_id"] != self.model_id:
            return False
        if record["status"] == "refused":
            return not self.anyway
        released = self.preset, str(self.sigma_per_clip)
        answered = current_name(record["preset"]), record["sigma_per_clip"]
        return record["status"] == "ok" and answered == released


class AnswersFile:
    """The file, open for appending; no other command writes to it meanwhile.

    Args:
        path: made where it is not there, readable by its owner only.
        style: of its lines.
        query: which of its lines count.
        resume: continue a file that holds something.

    Raises:
        ConfigError: there is such a file and `resume` is not given; it holds something else, is not a regular file,
            cannot be read and written, or another command is writing to it.
    """

    def __init__(self, path: Path, style: Style, query: Query, *, resume: bool) -> None:
        self._style = style
        self._answered: set[bytes] = set()
        try:
            self._path, self._stream = path, _open(path)
            try:
                self._read(path, query, resume=resume)
            except BaseException:
                self._close()
                raise
        except OSError as error:
            raise ConfigError(f"cannot write {path} ({error.strerror})", hint="choose another --output") from None

    def _read(self, path: Path, query: Query, *, resume: bool) -> None:
        _lock(self._stream, path)
        if os.fstat(self._stream.fileno()).st_size and not resume:
            raise ConfigError(f"{path} is there already", hint="add --resume to continue it, or name another file")
        whole = 0
        for record, end in _records(self._stream, self._style, path):
            whole = end
            if query.answers(record):
                self._answered.add(_digest(record["photo"], record["bytes"], record["modified"]))
        self._stream.truncate(whole)
        self._stream.seek(whole)
        if self._style == "csv" and not whole:
            self.write(json_csv.csv_header())

    def has(self, photo: str, stamp: Stamp | None) -> bool:
        """Whether the photo of that name, size and time of change was answered."""
        name = json_csv.cell(photo) if self._style == "csv" else well_formed(photo)
        return stamp is not None and _digest(name, str(stamp["bytes"]), str(stamp["modified"])) in self._answered

    def write(self, line: str) -> None:
        """Append whole lines.

        Raises:
            OutputError: the file does not take them, or is no longer as it was left: an editor may have put another one
                in its place.
        """
        try:
            found = os.fstat(self._stream.fileno())
            if not is_in_place(self._path, found) or found.st_size != self._stream.tell():
                raise OutputError(
                    "another program has moved, removed or changed the file of answers",
                    hint="the same command with --resume continues with what is there now",
                )
            self._stream.write(line.encode())
            self._stream.flush()
        except OSError as error:
            raise OutputError(
                f"the file of answers could not be written ({error.strerror})",
                hint="once it can be, the same command with --resume continues from here",
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # what was not taken has been reported
            self._stream.close()


def _digest(*facts: str) -> bytes:
    """Of a photo's name, size and time of change: 100 bytes of memory a photo instead of 330."""
    return hashlib.blake2b("\0".join(facts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _open(path: Path) -> BinaryIO:
    """Answers are about somebody's skin: a file that is made here is its owner's alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigError(f"{path} is not a regular file", hint="choose another --output")
    return os.fdopen(descriptor, "r+b")


def _lock(stream: BinaryIO, path: Path) -> None:
    """Until the stream is closed, however the process ends; Windows and some network shares have no such lock."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "wait for it, or choose another --output"
            raise ConfigError(f"another command is writing to {path}", hint=hint) from None


def _records(stream: BinaryIO, style: Style, path: Path) -> Iterator[tuple[Mapping[str, str], int]]:
    """Each whole line as what `Query` and `AnswersFile.has` look at, with where it ends.

    Raises:
        ConfigError: a line is not an answer in that style.
    """
    end = 0
    for number, line in enumerate(stream, 1):
        is_whole = line.endswith(b"\n")
        if not is_whole and (number > 1 or _is_begun(line, style)):
            return
        end += len(line)
        try:
            if not is_whole:
                raise ValueError("what is to be cut off is no answer")
            yield (_from_json if style == "json" else _from_csv)(line.decode(), number), end
        except (ValueError, TypeError, KeyError, AttributeError, csv.Error, RecursionError):
            hint = f"--resume continues a file of --format {style} only; choose another --output"
            raise ConfigError(f"line {number} of {path} is not an answer", hint=hint) from None


def _is_begun(line: bytes, style: Style) -> bool:
    """Whether an unfinished first line is the beginning of a file of answers, be it longer or shorter than `_FIRST`."""
    length = min(len(line), len(_FIRST[style]))
    return line[:length] == _FIRST[style][:length]


def _from_json(line: str, _number: int) -> Mapping[str, str]:
    answer = json.loads(line)
    return _from_row(json_csv.csv_record(answer)) | {"photo": answer["photo"]}


def _from_csv(line: str, number: int) -> Mapping[str, str]:
    found = _from_row(line)
    if (number == 1) != (tuple(found.values()) == _COLUMNS):
        raise ValueError("the names of the columns are not on the first line")
    return found


def _from_row(row: str) -> dict[str, str]:
    (cells,) = csv.reader([row], strict=True)
    return dict(zip(_COLUMNS, cells, strict=True))
