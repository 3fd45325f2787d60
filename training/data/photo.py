"""One labelled photo, as every reader of data sets lists it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from securesplit.audit.photos import MALIGNANT_DX
from securesplit.errors import SecureSplitError

SPLITS = ("train", "val", "test")
SIDE = 150
"""Height and width in pixels of a photo that a network takes, the student project's size."""
DX_CLASSES = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
"""The seven diagnoses of HAM10000; a photo of a folder tree has none of them."""


def is_malignant(dx: str) -> bool:
    """Whether a diagnosis of HAM10000 is malignant."""
    return dx in MALIGNANT_DX


def without_fold(source: str) -> str:
    """A photo's source, all folds of the phone photos together."""
    return source.partition("/")[0]


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


def rows_of(metadata: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a head, in UTF-8."""
    with metadata.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
