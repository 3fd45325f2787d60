"""What a gate is fitted on: feature maps and measures of photos as they are, of the same made worse, and of textures.

Sides are by lesion: those of HAM10000 as they come; of every other source, one fold over lesions (patients, of phone
photos) for validation, one for testing and the rest for fitting. A folder of other pictures, which show no skin, may be
added; squares are cut from them at random.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.imaging import quality
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from training.data.collection import fold_of
from training.data.dataset import Dataset
from training.data.photo import Photo
from training.gate import degraded, textures

VALIDATION_FOLD, TEST_FOLD = 3, 4
FITTED = {"ham10000": 600, "isic": 300, "phone": 600}
"""At most so many photos a group are fitted on in all their versions; `PLAIN` more as they are."""
PLAIN = {"ham10000": 1000, "isic": 600, "phone": 0}
DRAWN_LESIONS, DRAWN_TEXTURES, CROPS = 240, 1800, 22
SEED = 80


@dataclass(frozen=True)
class Examples:
    """Pictures as a gate sees them.

    Attributes:
        maps: of the head, ``(n, h, w, c) float16``.
        measures: ``(n, 10) float32``, of `securesplit.imaging.quality`.
        what: ``(n,)``: ``ok``, a key of `training.gate.degraded.HARMS`, or ``texture``, ``other``.
        group: ``(n,)``: ``ham10000``, ``isic``, ``phone``, ``drawn``.
        side: ``(n,)``: ``train``, ``val``.
    """

    maps: NDArray[np.float16]
    measures: NDArray[np.float32]
    what: NDArray[np.str_]
    group: NDArray[np.str_]
    side: NDArray[np.str_]


@dataclass(frozen=True)
class Picture:
    """One picture before the head: its pixels, and where it belongs."""

    pixels: NDArray[np.uint8]
    what: str
    group: str
    side: str


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


def pictures(data: Dataset, side: int, others: Path | None) -> Iterator[Picture]:
    """All that a gate is fitted and calibrated on; the random numbers depend on `SEED` alone."""
    sides = split_by_group(data.photos)
    rng = np.random.default_rng(SEED)
    for group, most in FITTED.items():
        chosen = sides["train"].get(group, [])
        for photo in chosen[:most]:
            image = _opened(photo.path)
            yield Picture(np.asarray(degraded.square(image, side)), "ok", group, "train")
            for harm in degraded.HARMS:
                yield Picture(degraded.harmed(image, harm, rng, side), harm, group, "train")
        for photo in chosen[most : most + PLAIN[group]]:
            yield Picture(np.asarray(degraded.square(_opened(photo.path), side)), "ok", group, "train")
    for group, found in sides["val"].items():
        for photo in found[:400]:
            yield Picture(np.asarray(degraded.square(_opened(photo.path), side)), "ok", group, "val")
    yield from _drawn(side)
    if others is not None:
        yield from _other_pictures(others, side)


def _drawn(side: int) -> Iterator[Picture]:
    for seed in range(DRAWN_LESIONS):
        lesion = Image.fromarray(draw_lesion(1000 + seed, side * (1 + seed % 3)))
        yield Picture(np.asarray(degraded.square(lesion, side)), "ok", "drawn", "train")
    for seed in range(DRAWN_TEXTURES):
        if seed % textures.FAMILIES not in textures.UNSEEN:
            yield Picture(textures.draw_texture(seed, side), "texture", "drawn", "train")


def _other_pictures(folder: Path, side: int) -> Iterator[Picture]:
    """Squares of every size from every picture under `folder`."""
    rng = np.random.default_rng(SEED)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in {".jpg", ".jpeg", ".png", ".webp"}:
            continue
        image = Image.open(path).convert("RGB")
        image.thumbnail((2400, 2400))
        if min(image.size) < 2 * side:
            continue
        for _ in range(CROPS):
            size = float(np.exp(rng.uniform(np.log(side), np.log(min(image.size)))))
            left, top = rng.uniform(0, image.width - size), rng.uniform(0, image.height - size)
            box = (left, top, left + size, top + size)
            yield Picture(np.asarray(degraded.square(image, side, box)), "other", "drawn", "train")


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def extract(bundle: Bundle, output: str, found: Iterator[Picture]) -> Examples:
    """Run the head over pictures; `output` names the feature map among what it computes."""
    head = bundle.open_head(1)
    maps, measures, labels = [], [], []
    for picture in found:
        maps.append(head(picture.pixels)[output].astype(np.float16))
        measures.append(quality.measure(picture.pixels))
        labels.append((picture.what, picture.group, picture.side))
        if len(labels) % 1000 == 0:
            print(f"{len(labels)} pictures", flush=True)
    what, group, side = np.array(labels).T
    return Examples(np.stack(maps), np.stack(measures), what, group, side)
