"""Photos that come in two folders, ``benign/`` and ``malignant/``, split into train, val and test.

Whatever looks like the same picture stays on one side (`training.data.duplicates.groups`), and each side gets its share
of both classes. The split depends on the photos alone, and is written to ``splits.csv`` beside the folders, so that the
test photos stay the same ones for whoever reads them next.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from securesplit.atomic import atomic_write
from training.data.duplicates import grey_picture, groups
from training.data.photo import SPLITS, Photo, check_labels, one_of, read_all, rows_of, sha256_of

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
RECORD = "splits.csv"
EARLIER_RECORD = "division.csv"
"""What the record was called before; it is read where it is there."""
_SEED = 1  # of the order in which groups are placed


def allocate(members: Mapping[str, Sequence[bool]], seed: int) -> dict[str, str]:
    """The split of each group: the one that lacks most of the group's class, in an order drawn from `seed`.

    Args:
        members: by group, which of its photos are malignant; a group with one counts as malignant.
        seed: of the order.
    """
    names = sorted(members)
    np.random.default_rng(seed).shuffle(names)
    side: dict[str, str] = {}
    for malignant in (True, False):
        chosen = [name for name in names if any(members[name]) == malignant]
        total, given = sum(len(members[name]) for name in chosen), dict.fromkeys(SPLITS, 0)
        for name in chosen:
            split = max(SPLITS, key=lambda s: SHARES[s] * total - given[s])
            given[split] += len(members[name])
            side[name] = split
    return side


def split_by_picture(root: Path, photos: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """Split and group of each photo, by its path under `root`; read back from ``splits.csv`` where it is there.

    Args:
        root: the folder with ``benign/`` and ``malignant/``.
        photos: all of them, under `root`.

    Raises:
        ValueError: ``splits.csv`` does not name exactly these photos.
        DataError: it, or a photo, cannot be read, or one file is in both folders.
    """
    names = [name_in(root, path) for path in photos]
    record = root / (EARLIER_RECORD if (root / EARLIER_RECORD).is_file() else RECORD)
    if record.is_file():
        found = {
            row["photo"]: (one_of(row["split"], SPLITS, f"a split of {record}"), row["group"])
            for row in rows_of(record, ("photo", "split", "group"))
        }
        if set(found) != set(names):
            raise ValueError(f"{record} was made for other photos; delete it to split them again")
        return found
    linked = [names[twin] for twin in groups(np.stack(read_all(photos, grey_picture)))]
    labelled = (Photo(path, malignant=path.parent.name == "malignant", lesion="") for path in photos)
    check_labels((sha256_of(photo.path), photo) for photo in labelled)
    members: dict[str, list[bool]] = {}
    for name, group in zip(names, linked, strict=True):
        members.setdefault(group, []).append(name.startswith("malignant"))
    side = allocate(members, _SEED)
    placed = {name: (side[group], group) for name, group in zip(names, linked, strict=True)}
    if os.access(root, os.W_OK):
        _write(record, placed)
    return placed


def name_in(root: Path, photo: Path) -> str:
    """What the record calls a photo under `root`, on every system."""
    return photo.relative_to(root).as_posix()


def _write(record: Path, placed: Mapping[str, tuple[str, str]]) -> None:
    with atomic_write(record) as own, own.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("photo", "split", "group"))
        writer.writerows((name, *where) for name, where in sorted(placed.items()))
