"""Several data sets as one: dermoscopy of two hospitals, dermoscopy of other cameras, and phone photos.

A collection is a folder that holds ``ham10000/`` and any of ``isic_archive/``, ``phone/`` and ``smartphone/``, each
with ``images/`` and ``metadata.csv``. HAM10000 brings its own splits. The others have none: ``smartphone`` is for
testing, and the rest for training, unless a source is held out (`training.data.dataset.Dataset.holding_out`), which is
how a network is measured on cameras and clinics that it never saw.

A photo's *source* is what a shortcut could hang on: ``ham10000``, a collection within the ISIC archive (``komour``,
``isic2017``, ``isic9``), or ``phone/F`` for one of `FOLDS` folds over patients. Its *kind* is ``dermoscopy`` or
``phone``.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from securesplit.audit.photos import photo_named
from training.data.photo import SPLITS, DataError, Photo, is_malignant, rows_of

FOLDS = 5
"""Folds over the patients of the phone photos."""

ARCHIVE_COLUMNS = ("image_id", "label", "dx", "dx_type", "lesion_id", "source")
PHONE_COLUMNS = ("file", "label", "patient_id", "age", "region")

_DIAGNOSES = {
    "nevus": "nv",
    "melanoma": "mel",
    "seborrheic keratosis": "bkl",
    "dermatofibroma": "df",
    "squamous cell carcinoma": "akiec",
    "actinic keratosis": "akiec",
    "NEV": "nv",
    "MEL": "mel",
    "SEK": "bkl",
    "BCC": "bcc",
    "SCC": "akiec",
    "ACK": "akiec",
}
"""The names of other data sets -> those of HAM10000, which puts squamous cell carcinoma in situ among the ``akiec``."""


def is_collection(root: Path) -> bool:
    """Whether `root` holds several data sets, HAM10000 among them."""
    return (root / "ham10000" / "metadata.csv").is_file()


def not_a_collection(root: Path) -> DataError:
    """What refuses a folder of one data set where several are wanted."""
    return DataError(
        f"{root} is not a collection of data sets", hint="give the folder that holds ham10000/ and others beside it"
    )


def list_isic_archive(root: Path) -> list[Photo]:
    """Dermoscopy from the ISIC Archive that is not in HAM10000; lesions are not known, so each photo is its own.

    Raises:
        DataError: the list cannot be read, or a diagnosis is unknown.
    """
    return [
        Photo(
            path=photo_named(root / "images", row["image_id"]),
            malignant=row["label"] == "malignant",
            lesion=row["lesion_id"] or row["image_id"],
            dx=_diagnosis(row["dx"]),
            dx_type="histo" if row["dx_type"] == "histopathology" else row["dx_type"],
            source=row["source"],
        )
        for row in rows_of(root / "metadata.csv", ARCHIVE_COLUMNS)
    ]


def list_phone(root: Path) -> list[Photo]:
    """Phone photos of PAD-UFES-20, grouped by patient. Actinic keratosis counts as malignant, as in HAM10000.

    Raises:
        DataError: the list cannot be read, or a diagnosis is unknown.
    """
    return [
        _phone(root, row, dx=row["dx"], biopsied=row["biopsied"], source=f"phone/{fold_of(row['patient_id'])}")
        for row in rows_of(root / "metadata.csv", (*PHONE_COLUMNS, "dx", "biopsied"))
    ]


def list_smartphone(root: Path) -> list[Photo]:
    """Phone photos of other patients of the same data set, which are for testing only.

    Raises:
        DataError: the list cannot be read, or a diagnosis is unknown.
    """
    return [
        _phone(root, row, dx=row["diagnostic"], biopsied=row["biopsed"], source="smartphone")
        for row in rows_of(root / "metadata.csv", (*PHONE_COLUMNS, "diagnostic", "biopsed"))
    ]


def _phone(root: Path, row: dict[str, str], *, dx: str, biopsied: str, source: str) -> Photo:
    diagnosis = _diagnosis(dx)
    return Photo(
        path=root / "images" / row["file"],
        malignant=is_malignant(diagnosis),
        lesion=row["patient_id"],
        dx=diagnosis,
        dx_type="histo" if biopsied == "True" else "",
        age=row["age"],
        sex=(row.get("sex") or row.get("gender") or "").lower(),
        site=row["region"].lower(),
        source=source,
        kind="phone",
        is_premalignant=row["label"] == "actinic_keratosis",
    )


def fold_of(name: str, folds: int = FOLDS) -> int:
    """The fold of a patient or lesion, from 0 to `folds` - 1; it depends on the name alone."""
    return hashlib.sha256(name.encode()).digest()[0] % folds


def merged(ham10000: dict[str, list[Photo]], root: Path) -> dict[str, list[Photo]]:
    """The splits of HAM10000 with the other data sets under `root`: in training, ``smartphone`` in test.

    Raises:
        DataError: the list cannot be read, or a diagnosis is unknown.
    """
    others = []
    if (root / "isic_archive").is_dir():
        others += list_isic_archive(root / "isic_archive")
    if (root / "phone").is_dir():
        others += list_phone(root / "phone")
    splits = {split: [replace(photo, source="ham10000") for photo in ham10000[split]] for split in SPLITS}
    splits["train"] += others
    if (root / "smartphone").is_dir():
        splits["test"] += list_smartphone(root / "smartphone")
    return splits


def _diagnosis(name: str) -> str:
    try:
        return _DIAGNOSES[name]
    except KeyError:
        raise DataError(f"unknown diagnosis {name!r}") from None
