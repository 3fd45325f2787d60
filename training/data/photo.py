"""One labelled photo, as every reader of data sets lists it."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from securesplit.audit import photos
from securesplit.errors import ConfigError, PhotoError, SecureSplitError

T = TypeVar("T")
SPLITS = ("train", "val", "test")
SIDE = 150
"""Height and width in pixels of a photo that a network takes, the student project's size."""
DX_CLASSES = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
"""The seven diagnoses of HAM10000; a photo of a folder tree has none of them."""


def is_malignant(dx: str) -> bool:
    """Whether a diagnosis of HAM10000 is malignant."""
    return dx in photos.MALIGNANT_DX


def without_fold(source: str) -> str:
    """A photo's source, all folds of the phone photos together."""
    return source.partition("/")[0]


def sources_hint(sources: Iterable[str]) -> str:
    """Which sources photos are of, where one was named that none is of."""
    return f"sources: {', '.join(sorted({*sources} - {''})) or 'none is known of these photos'}"


class DataError(SecureSplitError):
    """The data folder does not hold what training needs; the message says what is missing."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "training/data/dataset.py says how the photos must lie") -> None:
        super().__init__(message, hint=hint)


@dataclass(frozen=True)
class Photo:
    """Where a photo lies, what it shows, and which lesion it belongs to.

    Attributes:
        path: of its file.
        malignant: its label.
        lesion: photos with the same name here never stand on two sides of a split.
        dx: one of `DX_CLASSES`, or empty where the diagnosis is not known.
        dx_type: how the label was found; ``histo`` for histopathology.
        age, sex, site: of the patient and on the body, empty where not known.
        source: what a shortcut could hang on: the collection, camera or clinic; empty where there is only one.
        kind: ``dermoscopy`` or ``phone``.
        is_premalignant: labelled malignant for training, and left out of benign against malignant (actinic keratosis).
    """

    path: Path
    malignant: bool
    lesion: str
    dx: str = ""
    dx_type: str = ""
    age: str = ""
    sex: str = ""
    site: str = ""
    source: str = ""
    kind: str = "dermoscopy"
    is_premalignant: bool = False

    @property
    def years(self) -> float | None:
        """`age` as a number; None where it is not known, or is no age."""
        try:
            years = float(self.age)
        except ValueError:
            return None
        return years if 0 <= years < math.inf else None


def rows_of(metadata: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a head, in UTF-8.

    Args:
        metadata: the file.
        columns: that it must have.

    Raises:
        DataError: it is no such file, or lacks a column or a value.
    """
    try:
        return photos.rows_of(metadata, columns)
    except ConfigError as error:
        raise DataError(error.message, hint=error.hint) from None


def one_of(value: str, choices: Sequence[str], what: str) -> str:
    """`value`, a `what` of a list of photos.

    Raises:
        DataError: it is none of `choices`.
    """
    if value not in choices:
        raise DataError(f"{what} is {value!r}", hint=f"name each {', '.join(choices[:-1])} or {choices[-1]}")
    return value


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever is let through while the photo in `path` is read becomes a DataError that names it."""
    try:
        yield
    except PhotoError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from None
    except FileNotFoundError as error:
        hint = "put it there, or correct its name in the list of photos"
        raise DataError(f"{path}: {error.strerror}", hint=hint) from None
    except Exception as error:  # noqa: BLE001  (Pillow lets through whatever a damaged file makes of its readers)
        reason = getattr(error, "strerror", None) or "not a whole photo"
        raise DataError(f"{path}: {reason}", hint="replace it by a whole photo, or leave it out") from None


def sha256_of(path: Path) -> str:
    """Of the content of a photo's file.

    Raises:
        DataError: it cannot be read.
    """
    with readable(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_labels(found: Iterable[tuple[str, Photo]]) -> None:
    """Refuse one photo under both labels.

    Args:
        found: what tells photos from each other, such as the hash of their content, and the photos.

    Raises:
        DataError: names both files.
    """
    seen: dict[str, Photo] = {}
    for content, photo in found:
        other = seen.setdefault(content, photo)
        if other.malignant != photo.malignant:
            raise DataError(
                f"{other.path} and {photo.path} are one photo with two diagnoses", hint="take the wrong one away"
            )


def read_all(paths: Sequence[Path], read: Callable[[Path], T]) -> list[T]:
    """What `read` makes of every photo.

    Raises:
        DataError: some cannot be read: how many, and which is the first.
    """
    found, unreadable = [], []
    for path in paths:
        try:
            found.append(read(path))
        except DataError as error:
            unreadable.append(error)
    if unreadable:
        first = unreadable[0]
        count = f"{len(unreadable)} of {len(paths)} photos cannot be read, the first of them "
        raise DataError(f"{count if len(unreadable) > 1 else ''}{first.message}", hint=first.hint)
    return found
