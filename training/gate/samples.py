"""What a gate is fitted on: features of photos as they are, of the same made worse, and of pictures without skin.

Sides are by lesion: those of HAM10000 as they come; of every other source, one fold over lesions (patients, of phone
photos) for validation, one for testing and the rest for fitting. Textures and pages are drawn; a folder of other
pictures and of cut-out things, which show no skin, may be added (`training.gate.without_skin`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.imaging import load_photo, quality
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, gate
from securesplit.results import Framing
from training.data.collection import fold_of
from training.data.dataset import Dataset, stamp, upright
from training.data.photo import Photo
from training.gate import degraded, textures, without_skin

VALIDATION_FOLD, TEST_FOLD = 3, 4
FITTED = {"ham10000": 600, "isic": 300, "phone": 600}
"""At most so many photos a group are fitted on in all their versions; `PLAIN` more as they are."""
PLAIN = {"ham10000": 1000, "isic": 600, "phone": 0}
DRAWN_LESIONS, DRAWN_TEXTURES = 240, 1800
SEED = 80


@dataclass(frozen=True)
class Examples:
    """Pictures as a gate sees them.

    Attributes:
        features: ``(n, 5c + 10) float32``, of `securesplit.model.gate.features`.
        shape: of the map that they are of, ``(3,)``: height, width and ``c``.
        what: ``(n,)``: ``ok``, a key of `training.gate.degraded.HARMS`, or ``texture``, ``other``.
        group: ``(n,)``: ``ham10000``, ``isic``, ``phone``, ``drawn``.
        side: ``(n,)``: ``train``, ``val``.
        fold: ``(n,)``: of phone photos, by patient; else -1.
    """

    features: NDArray[np.float32]
    shape: NDArray[np.int64]
    what: NDArray[np.str_]
    group: NDArray[np.str_]
    side: NDArray[np.str_]
    fold: NDArray[np.int64]


@dataclass(frozen=True)
class Picture:
    """One picture before the head: its pixels, and where it belongs."""

    pixels: NDArray[np.uint8]
    what: str
    group: str
    side: str
    fold: int = -1


def group_of(photo: Photo) -> str:
    """``ham10000``, ``isic`` or ``phone``."""
    if photo.kind == "phone":
        return "phone"
    return "ham10000" if photo.source == "ham10000" else "isic"


def split_by_group(photos: Mapping[str, Sequence[Photo]]) -> dict[str, dict[str, list[Photo]]]:
    """Side -> group -> photos, in an order that only their names decide; ``smartphone`` is the test's."""
    sides: dict[str, dict[str, list[Photo]]] = {side: {} for side in ("train", "val", "test")}
    for split, found in photos.items():
        for photo in found:
            side, group = _side(split, photo), group_of(photo)
            sides[side].setdefault(group, []).append(photo)
    for groups in sides.values():
        for chosen in groups.values():
            chosen.sort(key=lambda p: hashlib.sha256(p.path.name.encode()).digest())
    return sides


def _side(split: str, photo: Photo) -> str:
    if photo.source == "ham10000" or split != "train":
        return split
    return {VALIDATION_FOLD: "val", TEST_FOLD: "test"}.get(fold_of(photo.lesion), "train")


def pictures(data: Dataset, side: int, framing: Framing, others: Path | None) -> Iterator[Picture]:
    """All that a gate is fitted and calibrated on; the random numbers depend on `SEED` alone.

    Args:
        data: photos in all versions.
        side: of what the head sees, in pixels.
        framing: which square of a picture that is.
        others: folder of pictures without skin.
    """
    made_at = side if framing == "centre square" else 2 * side  # a square around a lesion is a part of it
    for picture in _whole(data, made_at, others):
        yield replace(picture, pixels=load_photo(picture.pixels, side, framing))


def _whole(data: Dataset, side: int, others: Path | None) -> Iterator[Picture]:
    sides = split_by_group(data.photos)
    rng = np.random.default_rng(SEED)
    for group, most in FITTED.items():
        chosen = sides["train"].get(group, [])
        for photo in chosen[:most]:
            image, fold = upright(photo.path, side), _fold(photo)
            yield Picture(np.asarray(degraded.square(image, side)), "ok", group, "train", fold)
            for harm in degraded.HARMS:
                yield Picture(degraded.harmed(image, harm, rng, side), harm, group, "train", fold)
        for photo in chosen[most : most + PLAIN[group]]:
            yield Picture(_square(photo, side), "ok", group, "train")
    for group, found in sides["val"].items():
        for photo in found[:400]:
            yield Picture(_square(photo, side), "ok", group, "val", _fold(photo))
    yield from _drawn(side)
    yield from _without_skin(others, side)


def made_of(data: Dataset, others: Path | None) -> str:
    """All that `pictures` depends on, but for the code, in one line."""
    beside = [] if others is None else [f"{p.relative_to(others)} {stamp(p)}" for p in without_skin.files(others)]
    return f"{data.fingerprint} upright {beside} {SEED} {FITTED} {PLAIN} {DRAWN_LESIONS} {DRAWN_TEXTURES}"


def _square(photo: Photo, side: int) -> NDArray[np.uint8]:
    return np.asarray(degraded.square(upright(photo.path, side), side))


def _fold(photo: Photo) -> int:
    return fold_of(photo.lesion) if photo.kind == "phone" else -1


def _drawn(side: int) -> Iterator[Picture]:
    for seed in range(DRAWN_LESIONS):
        lesion = Image.fromarray(draw_lesion(1000 + seed, side * (1 + seed % 3)))
        yield Picture(np.asarray(degraded.square(lesion, side)), "ok", "drawn", "train")
    for seed in range(DRAWN_TEXTURES):
        if seed % textures.FAMILIES not in textures.UNSEEN:
            yield Picture(textures.draw_texture(seed, side), "texture", "drawn", "train")


def _without_skin(folder: Path | None, side: int) -> Iterator[Picture]:
    rng = np.random.default_rng(SEED)
    found, things = ([], []) if folder is None else without_skin.opened(folder, 2 * side)
    for pixels in (
        *without_skin.squares(found, rng, side),
        *without_skin.on_grounds(things, found, rng, side),
        *without_skin.pages(rng, side),
    ):
        yield Picture(pixels, "other", "drawn", "train")


def extract(bundle: Bundle, output: str, found: Iterator[Picture], preset: str | None = None) -> Examples:
    """Run the head, or that of a preset, over pictures; `output` names the feature map among what it computes."""
    head = bundle.open_head(1, preset)
    features, labels = [], []
    for picture in found:
        features.append(gate.features(head(picture.pixels)[output], quality.measure(picture.pixels)))
        labels.append((picture.what, picture.group, picture.side, picture.fold))
        if len(labels) % 1000 == 0:
            print(f"{len(labels)} pictures", flush=True)
    what, group, side, fold = zip(*labels, strict=True)
    shape = np.array(head.shapes[output])
    return Examples(np.stack(features), shape, np.array(what), np.array(group), np.array(side), np.array(fold))
