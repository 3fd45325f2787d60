"""What a person names -> photos: files, folders, patterns and ``-`` for standard input, one after the other.

A folder is walked with all folders in it, in the order of names, as is what a pattern matches; only the names of the
folders on the way to the present photo are held, so a listing of any size takes no more memory. Hidden files and
folders are passed over, and so is what is not a photo by its name and its first bytes; both are counted. What was named
itself is always a photo of the listing, also where it turns out to be none. Links to files are followed, links to
folders are not, since they may lead back.
"""

from __future__ import annotations

import errno
import fnmatch
import io
import itertools
import os
import re
import reprlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from securesplit.errors import PhotoError
from securesplit.imaging import formats
from securesplit.imaging.photo_source import MAX_FILE_BYTES

STANDARD_INPUT = "-"
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .tif .tiff .bmp .dib .webp .heic .heif .hif .avif .dcm .dicom".split()  # noqa: SIM905
)
"""Of files in a folder that are taken for photos whatever they hold, so that a damaged one is told of."""

_MAGIC = re.compile(r"[*?\[]")
_DEEP = "**"
MAX_DEPTH = 100  # folders in folders; nobody sorts photos so, and a hostile folder may be 2,000 deep
_KINDS = "photos are files such as .jpg, .png or .dcm; hidden ones are passed over"
_PIPE = "pipe a photo into it, as in: securesplit diagnose - < mole.jpg"


class Unread(io.BytesIO):
    """A photo of a listing that there is nothing to read of: reading it raises the error that says why.

    Args:
        name: what was named.
        error: raised by `read`.
    """

    def __init__(self, name: str, error: PhotoError) -> None:
        super().__init__()
        self.name = name
        self._error = error

    def read(self, _size: int | None = -1) -> bytes:
        """Raise the error."""
        raise self._error


class NamedBytes(io.BytesIO):
    """The content of a file that has no path, under a name to show."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


ListedPhoto = Path | BinaryIO


class Listing:
    """The photos that arguments stand for; may be walked several times.

    Args:
        arguments: one or several files, folders, patterns (``*``, ``?``, ``[...]``, and ``**`` for folders of any
            depth), or ``-``. A file whose name looks like a pattern is that file.

    Attributes:
        passed_over: files in folders, or matched by patterns, that are hidden or no photos; known after a walk.

    Raises:
        PhotoError: an argument is neither text nor a path.
    """

    def __init__(self, arguments: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> None:
        several = (
            arguments if isinstance(arguments, Iterable) and not isinstance(arguments, str | bytes) else [arguments]
        )
        self._arguments = [_named(argument) for argument in several]
        self._is_input_read = False
        self.passed_over = 0

    def __iter__(self) -> Iterator[ListedPhoto]:
        """Photo by photo; standard input is read when its turn comes, in the thread that iterates."""
        self.passed_over = 0
        for argument in self._arguments:
            if argument == STANDARD_INPUT:
                yield self._from_input()
            else:
                yield from self._expand(argument)

    def count(self) -> int:
        """How many photos there are; looks at names, and at the first bytes of files without a photo's name."""
        before = self.passed_over
        found = sum(
            1 if argument == STANDARD_INPUT else _length(self._expand(argument)) for argument in self._arguments
        )
        self.passed_over = before
        return found

    def _expand(self, argument: str) -> Iterator[ListedPhoto]:
        if _is_folder(argument):
            found, nothing = self._walk(argument), "this directory holds no photo"
        elif _MAGIC.search(argument) and not os.path.lexists(argument):
            found, nothing = self._match(argument), "no photo matches this pattern"
        else:
            yield Path(argument)
            return
        first = next(found, None)
        if first is None:
            yield Unread(argument, PhotoError(nothing, hint=_KINDS))
        else:
            yield first
            yield from found

    def _walk(self, folder: str, depth: int = 0) -> Iterator[ListedPhoto]:
        """All photos of a folder, files before the folders in it."""
        try:
            files, folders = _entries(folder, depth)
        except OSError as error:
            yield Unread(folder, _unreadable(error))
            return
        yield from self._photos(folder, files, named=False)
        for name in folders:
            if not name.startswith("."):
                yield from self._walk(os.path.join(folder, name), depth + 1)  # noqa: PTH118 - keeps a leading ./ as it was written

    def _match(self, pattern: str) -> Iterator[ListedPhoto]:
        root, parts = _split(pattern)
        yield from self._match_parts(root, parts)

    def _match_parts(self, folder: str, parts: list[str], depth: int = 0) -> Iterator[ListedPhoto]:
        """The files that a pattern matches below `folder`; as in a shell, hidden ones only where it says the dot."""
        part, rest = parts[0], parts[1:]
        try:
            files, folders = _entries(folder or ".", depth)
        except OSError:
            return
        if part == _DEEP:
            yield from self._match_parts(folder, rest or ["*"], depth)
            for name in folders:
                if not name.startswith("."):
                    yield from self._match_parts(os.path.join(folder, name), parts, depth + 1)  # noqa: PTH118 - likewise
        elif rest:
            for name in _matching(folders, part):
                yield from self._match_parts(os.path.join(folder, name), rest, depth + 1)  # noqa: PTH118 - likewise
        else:
            yield from self._photos(folder, _matching(files, part), named=part.startswith("."))

    def _photos(self, folder: str, files: Iterable[str], *, named: bool) -> Iterator[ListedPhoto]:
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118 - likewise
            if (named or not name.startswith(".")) and is_photo(path):
                yield Path(path)
            else:
                self.passed_over += 1

    def _from_input(self) -> ListedPhoto:
        """Read once, so that a second ``-`` is told of rather than empty."""
        try:
            if self._is_input_read:
                raise PhotoError("standard input was read already", hint="name - once")
            self._is_input_read = True
            return NamedBytes(_read_input(sys.stdin), STANDARD_INPUT)
        except PhotoError as error:
            return Unread(STANDARD_INPUT, error)


def _named(argument: object) -> str:
    path = os.fspath(argument) if isinstance(argument, os.PathLike) else argument
    if not isinstance(path, str):
        hint = "name files, folders and patterns; a photo in memory is for diagnose itself"
        raise PhotoError(f"a photo cannot be listed by {reprlib.repr(argument)}", hint=hint)
    return path


def is_photo(path: str) -> bool:
    """Whether a file that was found looks like a photo: by the end of its name, else by its first bytes."""
    if os.path.splitext(path)[1].lower() in SUFFIXES:  # noqa: PTH122 - of many names, and quicker
        return True
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - likewise; a device or FIFO is not even opened
            return False
        with open(path, "rb") as stream:  # noqa: PTH123 - likewise
            return formats.is_picture(stream.read(formats.MARK_BYTES))
    except OSError:
        return False


def _entries(folder: str, depth: int) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in a folder, sorted; links to folders are neither.

    A link that cannot be followed (to itself, or into a folder that may not be searched) is a file.

    Raises:
        OSError: it cannot be read, or lies deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise OSError(errno.ELOOP, "too deep")
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif not os.path.isdir(entry.path):  # noqa: PTH112 - unlike entry.is_dir, no error where a link leads nowhere
                files.append(entry.name)
    return sorted(files), sorted(folders)


def _matching(names: list[str], part: str) -> list[str]:
    """Of sorted names, those that one part of a pattern matches."""
    return [name for name in fnmatch.filter(names, part) if part.startswith(".") or not name.startswith(".")]


def _split(pattern: str) -> tuple[str, list[str]]:
    """The folder that a pattern starts in, and its parts from the first with a wildcard on."""
    parts = re.split(r"[/\\]" if os.name == "nt" else "/", pattern)
    first = next(at for at, part in enumerate(parts) if _MAGIC.search(part))
    wild = [part for part, before in itertools.pairwise([*parts[first:], ""]) if (part, before) != (_DEEP, _DEEP)]
    return "/".join(parts[:first]) or ("/" if first else ""), [part for part in wild if part]


def _is_folder(argument: str) -> bool:
    try:
        return os.path.isdir(argument)  # noqa: PTH112 - of text that may be no path at all
    except ValueError:
        return False


def _unreadable(error: OSError) -> PhotoError:
    if isinstance(error, PermissionError):
        return PhotoError("no permission to read the directory", hint="check its permissions")
    if error.errno == errno.ELOOP:
        return PhotoError(f"the directory lies more than {MAX_DEPTH} directories deep", hint="name it itself")
    return PhotoError("the directory cannot be read", hint="check the path and its permissions")


def _read_input(stdin: TextIO | None) -> bytes:
    if stdin is None or stdin.closed:
        raise PhotoError("standard input is closed", hint=_PIPE)
    if stdin.isatty():
        raise PhotoError("standard input is a terminal", hint=_PIPE)
    try:
        return stdin.buffer.read(MAX_FILE_BYTES + 1)
    except OSError:
        raise PhotoError("standard input cannot be read", hint=_PIPE) from None


def _length(items: Iterator[object]) -> int:
    return sum(1 for _ in items)
