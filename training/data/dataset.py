"""Photos on disk -> arrays in memory, with the split that keeps every lesion on one side.

A command reads its data folder once, into a `Dataset`, and passes that on. Four layouts are read: the HAM10000/ISIC one
(``metadata.csv`` beside ``images/``), a folder tree that is split already (``train/benign/*.jpg``,
``train/malignant/*.jpg``, ``val/...``, ``test/...``), two folders, ``benign/`` and ``malignant/``, which
`training.data.splits` splits, and a collection of several data sets (`training.data.collection`). Pixels are decoded
once into a ``.npy`` cache, at the working height and with their aspect ratio, so that an epoch costs no JPEG decoding.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.atomic import write_text_atomic
from securesplit.audit.photos import SUFFIXES, photo_named
from securesplit.imaging import lesion
from securesplit.imaging.listing import SUFFIXES as ANY_SUFFIX
from securesplit.imaging.pillow_image import facts_of
from securesplit.imaging.pixels import to_upright_rgb
from securesplit.results import Framing, Kind
from training.data.collection import is_collection, merged
from training.data.photo import (
    DX_CLASSES,
    SPLITS,
    DataError,
    Photo,
    check_labels,
    is_malignant,
    one_of,
    read_all,
    readable,
    rows_of,
    sha256_of,
    sources_hint,
)
from training.data.splits import name_in, split_by_picture
from training.output import write_array

LABELS = ("benign", "malignant")
COLUMNS = frozenset({"image_id", "split", "dx", "lesion_id", "group", "dx_type", "age", "sex", "localization"})
"""Of ``metadata.csv`` in the layout of HAM10000."""


class Labelled(Protocol):
    """What is known of some photos beside their pixels; see `Split`."""

    @property
    def malignant(self) -> NDArray[np.float32]:
        """1 for malignant, ``(n,)``."""

    @property
    def dx(self) -> NDArray[np.int32]:
        """Index into `DX_CLASSES` or -1, ``(n,)``."""

    @property
    def source(self) -> NDArray[np.str_]:
        """``(n,)``."""

    @property
    def is_counted(self) -> NDArray[np.bool_]:
        """Counts in benign against malignant, ``(n,)``."""

    @property
    def histology(self) -> NDArray[np.bool_]:
        """Confirmed by histopathology, ``(n,)``."""


@dataclass(frozen=True)
class Split:
    """One side of the data: ``photos[i]`` belongs to ``pixels[i]``, ``(n, h, w, 3) uint8``."""

    photos: tuple[Photo, ...]
    pixels: NDArray[np.uint8]

    @property
    def malignant(self) -> NDArray[np.float32]:
        """``(n,) float32``, 1 for malignant."""
        return np.array([p.malignant for p in self.photos], np.float32)

    @property
    def dx(self) -> NDArray[np.int32]:
        """``(n,) int32`` index into `DX_CLASSES`, -1 where the diagnosis is not known."""
        return np.array([DX_CLASSES.index(p.dx) if p.dx in DX_CLASSES else -1 for p in self.photos], np.int32)

    @property
    def source(self) -> NDArray[np.str_]:
        """``(n,)`` where each photo comes from, see `training.data.photo.Photo`."""
        return np.array([p.source for p in self.photos])

    @property
    def lesion(self) -> NDArray[np.str_]:
        """``(n,)`` which lesion each photo shows, of a phone photo which patient's it is."""
        return np.array([p.lesion for p in self.photos])

    @property
    def is_phone(self) -> NDArray[np.bool_]:
        """``(n,) bool``: taken with a phone, without a dermatoscope."""
        return np.array([p.kind == "phone" for p in self.photos], bool)

    @property
    def is_counted(self) -> NDArray[np.bool_]:
        """``(n,) bool``: counts in benign against malignant."""
        return np.array([not p.is_premalignant for p in self.photos], bool)

    @property
    def histology(self) -> NDArray[np.bool_]:
        """``(n,) bool``: the label was confirmed by histopathology."""
        return np.array([p.dx_type == "histo" for p in self.photos], bool)


@dataclass(frozen=True)
class Dataset:
    """The photos of a data folder, parsed once: their split, their digest, and where their pixels are kept.

    Attributes:
        root: the folder.
        photos: by split of `training.data.photo.SPLITS`.
        cache: folder of decoded pixels, see `load_split`.
        framing: which square of a photo a network is to see.
    """

    root: Path
    photos: Mapping[str, Sequence[Photo]]
    cache: Path
    framing: Framing = "centre square"

    @classmethod
    def read(cls, root: Path, cache: Path) -> Self:
        """The photos under `root`, in any of the layouts.

        Raises:
            DataError: see `list_photos`.
        """
        return cls(root, {split: tuple(found) for split, found in list_photos(root).items()}, cache)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over split, file name, label and lesion of every photo: what a run's manifest calls its data."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for p in self.photos[split]:
                digest.update(f"{split}|{p.path.name}|{int(p.malignant)}|{p.lesion}\n".encode())
        return digest.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over `digest`, the source and kind of every photo, and what its file is: what caches go by."""
        digest = hashlib.sha256(self.digest.encode())
        for split in SPLITS:
            for p in self.photos[split]:
                digest.update(f"{p.source}|{p.kind}|{stamp(p.path)}\n".encode())
        return digest.hexdigest()

    @cached_property
    def contents(self) -> str:
        """SHA-256 over `digest`, whatever else a training learns from, and each file's content: the same anywhere."""
        found = sha256_of_files([photo.path for split in SPLITS for photo in self.photos[split]], self.cache)
        digest = hashlib.sha256(self.digest.encode())
        for split in SPLITS:
            for p in self.photos[split]:
                known = f"{p.dx}|{p.dx_type}|{p.source}|{p.kind}|{int(p.is_premalignant)}|{found[str(p.path)]}\n"
                digest.update(known.encode())
        return digest.hexdigest()

    def check_disjoint(self) -> None:
        """Refuse a split in which one lesion stands on two sides, or one photo in folders of both labels.

        Raises:
            DataError: names one such lesion or photo, or a file that cannot be read.
        """
        side: dict[str, str] = {}
        for split in SPLITS:
            for p in self.photos[split]:
                if side.setdefault(p.lesion, split) != split:
                    raise DataError(
                        f"lesion {p.lesion} is in both {side[p.lesion]} and {split}",
                        hint="keep its photos in one of them, or give them other names if they show other lesions",
                    )
        self._check_labels()

    def _check_labels(self) -> None:
        """Refuse one photo, by its content, in folders of both labels."""
        photos = [photo for split in SPLITS for photo in self.photos[split] if not photo.dx]  # the others are of a list
        content = sha256_of_files([photo.path for photo in photos], self.cache)
        check_labels((content[str(photo.path)] or str(photo.path), photo) for photo in photos)

    def check_classes(self, splits: Sequence[str]) -> None:
        """Refuse a split of one class alone, from which nothing is learned and of which nothing can be measured.

        Raises:
            DataError: names the split, and what it lacks. Premalignant lesions count as neither.
        """
        for split in splits:
            found = {photo.malignant for photo in self.photos[split] if not photo.is_premalignant}
            if missing := [label for label in LABELS if (label == "malignant") not in found]:
                raise DataError(
                    f"no {' and no '.join(missing)} photo is in {split}",
                    hint=f"photos of both classes are needed in {' and '.join(splits)}",
                )

    def lesions(self, split: str) -> dict[str, int]:
        """How many lesions of each label a split has; premalignant ones count as neither."""
        shown = [photo for photo in self.photos[split] if not photo.is_premalignant]
        return {
            label: len({photo.lesion for photo in shown if photo.malignant == (label == "malignant")})
            for label in LABELS
        }

    def holding_out(self, sources: Sequence[str]) -> Dataset:
        """The same with every training photo of `sources` in validation.

        Raises:
            DataError: no training photo is of such a source.
        """
        left, held = self.without(sources), set(sources)
        measured = [*self.photos["val"], *(photo for photo in self.photos["train"] if photo.source in held)]
        return replace(left, photos={**left.photos, "val": measured})

    def without(self, sources: Sequence[str]) -> Dataset:
        """The same without the training photos of `sources`.

        Raises:
            DataError: no training photo is of such a source.
        """
        train, held = self.photos["train"], set(sources)
        known = {photo.source for photo in train}
        if missing := held - known:
            raise DataError(
                f"no training photo is of {', '.join(sorted(missing))}",
                hint=sources_hint(known),
            )
        return replace(self, photos={**self.photos, "train": [photo for photo in train if photo.source not in held]})

    def of_kind(self, kind: Kind) -> Dataset:
        """The same with the photos alone that were taken in this way."""
        photos = {split: tuple(p for p in found if p.kind == kind) for split, found in self.photos.items()}
        return replace(self, photos=photos)

    def framed(self, framing: Framing) -> Dataset:
        """The same for a network that sees other squares."""
        return replace(self, framing=framing)

    def split(self, name: str, side: int) -> Split:
        """All photos of a split, see `decoded`."""
        return self.decoded(self.photos[name], side)

    def decoded(self, photos: Sequence[Photo], side: int) -> Split:
        """`photos` in memory, `side` pixels high and a third wider.

        Raises:
            DataError: there is no photo.
        """
        return load_split(photos, height=side, width=side * 4 // 3, cache=self.cache, framing=self.framing)


def list_photos(root: Path) -> dict[str, list[Photo]]:
    """The photos of each split under `root`, in any of the layouts.

    Raises:
        DataError: `root` is in none of them or in several, a folder is called nearly as one that is read, it holds
            other photos than its ``splits.csv`` names, or its list cannot be read, names a photo twice, or says of a
            photo what is not known here.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", hint="check what --data says")
    _check_names(root)
    layouts: dict[str, tuple[bool, Callable[[], dict[str, list[Photo]]]]] = {
        "ham10000/": (is_collection(root), lambda: _once(merged(_list_isic(root / "ham10000"), root))),
        "metadata.csv": ((root / "metadata.csv").is_file(), lambda: _once(_list_isic(root))),
        "train/benign/": ((root / "train" / "benign").is_dir(), lambda: _list_tree(root)),
        "benign/ with malignant/": (
            all((root / label).is_dir() for label in LABELS),
            lambda: _list_folders(root),
        ),
    }
    found = {name: listed for name, (is_there, listed) in layouts.items() if is_there}
    if not found:
        raise DataError(f"{root} holds none of {', '.join([*layouts][:-1])}, and {[*layouts][-1]}")
    if len(found) > 1:
        hint = "keep the photos to learn from, and move the others elsewhere"
        raise DataError(f"{root} holds photos in several layouts: {' and '.join(found)}", hint=hint)
    return next(iter(found.values()))()


def _check_names(root: Path) -> None:
    """Refuse folders that are called nearly as those which are read: what lies in them would be left out."""
    folders, splits = _folders_in(root), []
    if (root / "train").is_dir():
        splits = [folder for folder in folders if any(f.name.casefold() in LABELS for f in _folders_in(folder))]
    named: list[tuple[Path, Sequence[str]]] = [(folder, (*SPLITS, *LABELS)) for folder in folders]
    named += [(folder, LABELS) for split in splits for folder in _folders_in(split)]
    for folder, names in named:
        if folder.name not in names and (name := folder.name.casefold()) in names:
            raise DataError(f"photos in {folder} would be left out", hint=f"rename it to {name}")
    for folder in splits:
        if folder.name not in SPLITS:
            hint = f"the splits are called {', '.join(SPLITS)}: rename it, or move it elsewhere"
            raise DataError(f"photos in {folder} would be left out", hint=hint)


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("[!.]*")) if path.is_dir()]


def _once(found: dict[str, list[Photo]]) -> dict[str, list[Photo]]:
    """The same photos, none of which is listed twice: as two lesions, one could be trained on and tested with."""
    seen: set[Path] = set()
    for photo in itertools.chain.from_iterable(found.values()):
        if photo.path in seen:
            raise DataError(
                f"{photo.path.parent.parent / 'metadata.csv'} lists the photo {photo.path.stem} twice",
                hint="keep one of its rows",
            )
        seen.add(photo.path)
    return found


def _list_isic(root: Path) -> dict[str, list[Photo]]:
    found: dict[str, list[Photo]] = {name: [] for name in SPLITS}
    metadata = root / "metadata.csv"
    for row in rows_of(metadata, COLUMNS):
        dx = one_of(row["dx"], DX_CLASSES, f"a dx of {metadata}")
        found[one_of(row["split"], SPLITS, f"a split of {metadata}")].append(
            Photo(
                path=photo_named(root / "images", row["image_id"]),
                malignant=is_malignant(dx),
                lesion=row["group"] or row["lesion_id"] or row["image_id"],
                dx=dx,
                dx_type=row["dx_type"],
                age=row["age"],
                sex=row["sex"],
                site=row["localization"],
            )
        )
    return found


def _list_tree(root: Path) -> dict[str, list[Photo]]:
    """A name stands for a lesion in folders of one label; ``7.jpg`` of the other label is another one."""
    paths = {(split, label): _photos_in(root / split / label) for split in SPLITS for label in LABELS}
    benign, malignant = ({path.stem for split in SPLITS for path in paths[split, label]} for label in LABELS)
    both = benign & malignant
    return {
        split: [
            Photo(
                path=path,
                malignant=label == "malignant",
                lesion=f"{label}/{path.stem}" if path.stem in both else path.stem,
            )
            for label in LABELS
            for path in paths[split, label]
        ]
        for split in SPLITS
    }


def _list_folders(root: Path) -> dict[str, list[Photo]]:
    paths = [path for label in LABELS for path in _photos_in(root / label)]
    if not paths:
        raise DataError(f"{root} holds no photo in benign/ and malignant/")
    try:
        placed = split_by_picture(root, paths)
    except ValueError as error:
        raise DataError(str(error)) from None
    found: dict[str, list[Photo]] = {name: [] for name in SPLITS}
    for path in paths:
        split, group = placed[name_in(root, path)]
        found[split].append(Photo(path=path, malignant=path.parent.name == "malignant", lesion=group))
    return found


def _photos_in(folder: Path) -> list[Path]:
    """Without hidden files: macOS puts one of its own beside each photo on a foreign disk, ``._mole.jpg``.

    Raises:
        DataError: one is a photo that would be left out, or has a name that no list can hold.
    """
    for path in sorted(folder.glob("[!.]*/**/[!.]*")):
        if path.suffix.lower() in ANY_SUFFIX and path.is_file():
            raise DataError(f"{path} lies in a folder of its own", hint=f"put it into {folder}, or leave it out")
    files = [path for path in sorted(folder.glob("[!.]*")) if path.suffix.lower() in ANY_SUFFIX and not path.is_dir()]
    for path in files:
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path} is in a format that is not trained on", hint="save it as PNG, or leave it out")
        if not _is_text(path.name):
            raise DataError(f"the name of {path} is not in UTF-8", hint="rename it")
    return files


def _is_text(name: str) -> bool:
    """Whether lists can hold a file's name: not where it is in another encoding, as from an old archive."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def load_split(
    photos: Sequence[Photo], *, height: int, width: int, cache: Path, framing: Framing = "centre square"
) -> Split:
    """Decode `photos` to ``(n, height, width, 3) uint8``, from `cache` when it was done before.

    The square that a network is to see becomes `height` pixels high and lies in the middle; on both of its sides is
    what the photo shows there, and beyond the photo its mirror image. A centre square is never slid here.
    Orientation and colour profile are followed as a device does.

    Raises:
        DataError: there is no photo, or some cannot be read.
    """
    if not photos:
        raise DataError("a split without photos")
    key = hashlib.sha256("\n".join(f"{p.path} {stamp(p.path)}" for p in photos).encode()).hexdigest()[:16]
    seen = "upright" if framing == "centre square" else f"{framing}-{lesion.AROUND}"
    file = cache / f"{key}-{height}x{width}-{seen}.npy"
    if not file.is_file():
        frame = _frame if framing == "centre square" else _frame_around
        pixels = np.stack(read_all([p.path for p in photos], lambda path: frame(path, height, width)))
        cache.mkdir(parents=True, exist_ok=True)
        write_array(file, pixels)
    return Split(tuple(photos), np.load(file))


def stamp(path: Path) -> str:
    """Size and time of change of a file, which are others where it was replaced; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def sha256_of_files(paths: Sequence[Path], cache: Path) -> dict[str, str]:
    """By path, of the content; empty where there is no file. Read once, and noted in `cache` as long as none changes.

    Raises:
        DataError: a file cannot be read.
    """
    stamps = {str(path): stamp(path) for path in sorted({*paths})}
    key = hashlib.sha256(json.dumps(stamps, allow_nan=False).encode()).hexdigest()[:16]
    file = cache / f"{key}-sha256.json"
    if file.is_file():
        noted: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return noted
    found = {path: sha256_of(Path(path)) if when else "" for path, when in stamps.items()}
    if any(found.values()):
        cache.mkdir(parents=True, exist_ok=True)
        write_text_atomic(file, json.dumps(found, allow_nan=False))
    return found


def upright(path: Path, side: int) -> Image.Image:
    """The whole photo as a device sees it, RGB: turned, and in its colours.

    Args:
        path: of its file.
        side: a large photo is reduced, to at least four times as many pixels along its shorter edge.

    Raises:
        DataError: it cannot be read.
    """
    with readable(path), Image.open(path) as opened:
        opened.load()
        return to_upright_rgb(opened, facts_of(opened), side)[0]


def _frame(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    image = upright(path, height)
    scale = height / min(image.size)
    if scale != 1.0:
        size = (max(height, round(image.width * scale)), max(height, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = max(0, (image.width - width) // 2), (image.height - height) // 2
    cropped = np.asarray(image.crop((left, top, left + min(width, image.width), top + height)), np.uint8)
    missing = width - cropped.shape[1]
    return np.pad(cropped, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)), mode="symmetric")


def _frame_around(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    image = upright(path, height)
    place = lesion.choose_square(image, "lesion", height)
    pixel = place.edge / height  # of the frame, in those of the photo
    beside = (width - height) // 2
    before, behind = (min(beside, int(room / pixel)) for room in (place.left, image.width - place.left - place.edge))
    box = (place.left - before * pixel, place.top, place.left + place.edge + behind * pixel, place.top + place.edge)
    shown = np.asarray(image.resize((before + height + behind, height), Image.Resampling.BICUBIC, box=box), np.uint8)
    return np.pad(shown, ((0, 0), (beside - before, width - height - beside - behind), (0, 0)), mode="symmetric")


def at_random(count: int, most: int) -> NDArray[np.intp]:
    """Which of `count` photos are taken where `most` are enough: drawn, always the same ones, in their order.

    The first ones of a list are no sample of it: lists go by collection, clinic or date.

    >>> at_random(4, 9).tolist()
    [0, 1, 2, 3]
    """
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def centre_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(n, h, w, 3)`` with w >= h -> ``(n, h, h, 3)``, the convention at inference."""
    height, width = pixels.shape[1:3]
    left = (width - height) // 2
    return pixels[:, :, left : left + height]
