"""The photos of an audit: the attacker's own and the targets', of different lesions.

Three sources: a folder with ``metadata.csv`` in the layout of HAM10000 (its ``val`` and ``train`` splits are the
attacker's, its ``test`` split the targets'; without the column ``split`` the lesions are halved); any other folder,
whose photos are halved; or, without a folder, lesions that are drawn. A lesion of the targets' is never the attacker's,
nor a person where the list knows persons: where it says otherwise, the attacker does without their photos.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.setting import ShouldContinue, always
from securesplit.errors import ConfigError, PhotoError
from securesplit.imaging import load_photo
from securesplit.imaging.synthetic import draw_lesion
from securesplit.results import Framing
from securesplit.text import counted

MALIGNANT_DX, BENIGN_DX = frozenset({"mel", "bcc", "akiec"}), frozenset({"nv", "bkl", "vasc", "df"})
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"})
COLLECTION = "ham10000"
"""A folder of collections is taken to mean this one."""
COLUMNS = frozenset({"image_id", "lesion_id", "dx", "age", "sex", "localization"})
"""That a list must have; ``split``, ``group`` and ``patient_id`` it may have."""
SPLITS = ("val", "train", "test")
MIN_PHOTOS = 40
"""On either side; with fewer no attack could be trained and no rate measured."""


@dataclass(frozen=True)
class Entry:
    """One photo: where it lies (or its seed, for a drawn one) and what is known of it; empty where nothing is.

    `split` is ``train`` for photos that the network was fitted to, ``val`` or ``test`` for those that it was not.
    """

    source: Path | int
    lesion: str
    malignant: bool | None = None
    age: str = ""
    sex: str = ""
    site: str = ""
    person: str = ""
    split: str = ""


def subjects(entries: Sequence[Entry]) -> list[str]:
    """Whose each photo is: a person's where the list knows who has the lesion, else the lesion's own.

    >>> subjects([Entry(0, "a", person="p"), Entry(1, "a"), Entry(2, "b", person="p"), Entry(3, "p")])
    ['person p', 'person p', 'person p', 'lesion p']
    """
    persons = {entry.lesion: entry.person for entry in entries if entry.person}
    return [f"person {persons[e.lesion]}" if e.lesion in persons else f"lesion {e.lesion}" for e in entries]


@dataclass(frozen=True)
class Side:
    """The attacker's photos or the targets': ``entries[i]`` belongs to ``pixels[i]``, ``(n, side, side, 3) uint8``."""

    entries: tuple[Entry, ...]
    pixels: NDArray[np.uint8]

    @property
    def lesions(self) -> list[str]:
        """Which lesion each photo shows."""
        return [e.lesion for e in self.entries]

    @cached_property
    def subjects(self) -> list[str]:
        """Whose each photo is: equal names for photos of one person, or of one lesion where persons are not known."""
        return subjects(self.entries)

    @cached_property
    def clusters(self) -> NDArray[np.intp]:
        """``(n,)`` the number of each photo's subject: photos of one resemble each other."""
        return metrics.numbered(self.subjects)

    @property
    def malignant(self) -> NDArray[np.bool_] | None:
        """``(n,)`` labels; None where any is unknown."""
        labels = [e.malignant for e in self.entries]
        return None if None in labels else np.array(labels, bool)


@dataclass(frozen=True)
class Collection:
    """All photos of an audit.

    Args:
        name: what they are, for the report.
        auxiliary: the attacker's.
        targets: of lesions that the attacker does not have.
    """

    name: str
    auxiliary: Side
    targets: Side

    @property
    def digest(self) -> str:
        """SHA-256 over all pixels: what a resumed audit checks."""
        found = hashlib.sha256(np.ascontiguousarray(self.auxiliary.pixels).data)
        found.update(np.ascontiguousarray(self.targets.pixels).data)
        return found.hexdigest()

    @property
    def digest_of_list(self) -> str:
        """SHA-256 over what is known of each photo, wherever it lies: the same pixels may be listed anew."""
        entries = (*self.auxiliary.entries, *self.targets.entries)
        return hashlib.sha256(repr([replace(entry, source=0) for entry in entries]).encode()).hexdigest()


def load(
    folder: Path | None,
    side: int,
    framing: Framing = "centre square",
    *,
    auxiliary: int,
    targets: int,
    should_continue: tuple[ShouldContinue, ShouldContinue] = (always, always),
) -> Collection:
    """Read at most `auxiliary` and `targets` photos, in a fixed random order; draw them where `folder` is None.

    Args:
        folder: of photos.
        side: height and width in pixels.
        framing: which square of a photo.
        auxiliary: how many of the attacker's.
        targets: how many of the targets'.
        should_continue: for either, whether there is time for more than `MIN_PHOTOS`.

    Raises:
        ConfigError: there is no such folder, or it holds too few photos.
    """
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", hint="check the path")
    if folder is not None and (folder / COLLECTION / "metadata.csv").is_file():
        folder = folder / COLLECTION
    if folder is None:
        name, mine, theirs = "synthetic lesions", _drawn(0, auxiliary), _drawn(1_000_000, targets)
    elif (folder / "metadata.csv").is_file():
        name, mine, theirs = folder.name, *_listed(folder)
    else:
        name, mine, theirs = folder.name, *_halved(_files(folder))
    found = subjects([*mine, *theirs])
    theirs_alone = {*found[len(mine) :]}
    mine = [entry for entry, subject in zip(mine, found, strict=False) if subject not in theirs_alone]
    return Collection(
        name,
        _read(mine, side, framing, auxiliary, should_continue[0]),
        _read(theirs, side, framing, targets, should_continue[1]),
    )


def _drawn(first_seed: int, count: int) -> list[Entry]:
    return [Entry(first_seed + i, f"drawn {first_seed + i}") for i in range(count)]


def _listed(folder: Path) -> tuple[list[Entry], list[Entry]]:
    rows = rows_of(folder / "metadata.csv", COLUMNS)
    if unknown := {row["dx"] for row in rows} - {*MALIGNANT_DX, *BENIGN_DX, ""}:
        raise ConfigError(
            f"a dx of {folder / 'metadata.csv'} is {min(unknown)!r}",
            hint=f"name each {', '.join(sorted(MALIGNANT_DX | BENIGN_DX))}, or leave it empty",
        )
    found = [(row.get("split"), _entry(folder, row)) for row in rows]
    if not any(split for split, _ in found):
        return _halved([entry for _, entry in found])
    if others := {split for split, _ in found} - {*SPLITS}:
        raise ConfigError(
            f"a split of {folder / 'metadata.csv'} is {min(map(str, others))!r}", hint="name each val, train or test"
        )
    val, train, test = ([entry for split, entry in found if split == name] for name in SPLITS)
    # the network was not fitted to `val`: its releases look most like a target's
    return _shuffled(val) + _shuffled(train), _shuffled(test)


def rows_of(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a head, in UTF-8.

    Args:
        file: of photos.
        columns: that it must have.

    Raises:
        ConfigError: it is no such file, lacks a column or a value, or has a column twice.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            found = reader.fieldnames or ()
            missing = {*columns} - {*found}
            rows = [] if missing else list(reader)
    except (ValueError, csv.Error, OSError) as error:
        raise ConfigError(f"cannot read {file} ({error})", hint="save it as CSV in UTF-8, with commas") from None
    if missing:
        raise ConfigError(f"{file} has no column {', '.join(sorted(missing))}", hint="add it, with commas between")
    if twice := [name for name, count in Counter(found).items() if name and count > 1]:
        raise ConfigError(f"{file} has the column {twice[0]} twice", hint="keep one of them")
    for number, row in enumerate(rows, 2):
        if None in row.values() or None in row:
            raise ConfigError(
                f"row {number} of {file} has another number of values than the first one", hint="correct that row"
            )
    return [row for row in rows if any(row.values())]  # programs for tables write empty rows behind the last one


def photo_named(images: Path, name: str) -> Path:
    """The file of the photo that a list calls `name`: a ``.jpg``, or of another format, or `name` with its ending.

    Where there is none, the ``.jpg`` that is missing.
    """
    usual = images / f"{name}.jpg"
    others = (images / f"{name}{suffix}" for small in sorted(SUFFIXES) for suffix in (small, small.upper()))
    whole = [images / name] if Path(name).suffix.lower() in SUFFIXES else []
    return next((file for file in (usual, *whole, *others) if file.is_file()), usual)


def _entry(folder: Path, row: dict[str, str]) -> Entry:
    return Entry(
        source=photo_named(folder / "images", row["image_id"]),
        lesion=row.get("group") or row["lesion_id"] or row["image_id"],
        malignant=row["dx"] in MALIGNANT_DX if row["dx"] else None,
        age=row["age"],
        sex=row["sex"],
        site=row["localization"],
        person=row.get("patient_id") or "",
        split=row.get("split") or "",
    )


def _files(folder: Path) -> list[Entry]:
    labels = {"benign": False, "malignant": True}
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    return [Entry(f, str(f.relative_to(folder).with_suffix("")), labels.get(f.parent.name.lower())) for f in files]


def _halved(entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Half of the subjects, with all their photos, for either side."""
    found = subjects(entries)
    distinct = list(dict.fromkeys(found))
    order = np.random.default_rng(0).permutation(len(distinct))
    own = {distinct[i] for i in order[: len(order) // 2]}
    mine, theirs = (
        [e for e, whose in zip(entries, found, strict=True) if (whose in own) == side] for side in (True, False)
    )
    return _shuffled(mine), _shuffled(theirs)


def _shuffled(entries: list[Entry]) -> list[Entry]:
    return [entries[i] for i in np.random.default_rng(0).permutation(len(entries))]


def _read(entries: Iterable[Entry], side: int, framing: Framing, count: int, should_continue: ShouldContinue) -> Side:
    """The first `count` that can be read, or as many as there is time for."""
    kept: list[Entry] = []
    pixels = []
    for entry in entries:
        if len(kept) == count or (len(kept) >= MIN_PHOTOS and not should_continue()):
            break
        try:
            pixels.append(_pixels(entry, side, framing))
        except PhotoError:
            continue  # a user's folder may hold other things; the report says how many photos were used
        kept.append(entry)
    if len(kept) < MIN_PHOTOS:
        raise ConfigError(
            f"only {counted(len(kept), 'photo')} for one side of the audit, at least {MIN_PHOTOS} are needed",
            hint=f"give --data a folder with {2 * MIN_PHOTOS} photos or more, or leave it out to use synthetic lesions",
        )
    return Side(tuple(kept), np.stack(pixels))


def _pixels(entry: Entry, side: int, framing: Framing) -> NDArray[np.uint8]:
    if isinstance(entry.source, int):
        return draw_lesion(entry.source, side)
    return load_photo(entry.source, side, framing)
