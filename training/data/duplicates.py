"""Photos that are nearly the same, found by a perceptual hash, whichever way they are turned or mirrored.

A 64-bit DCT hash (Zauner 2010) proposes pairs; the correlation of small grey pictures decides. Most moles are a dark
blob in the middle, so hashes alone would accuse many photos of different lesions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.data.photo import SPLITS, Photo, readable

GREY_SIDE = 32  # pixels
HASH_SIDE = 8  # lowest frequencies in each direction
BLOCK = 1024  # photos compared with all others at once, which bounds the memory
MAX_BITS = 10  # of 64 that may differ
MIN_CORRELATION = 0.985  # of the grey pictures; among HAM10000's splits different moles reach 0.977, a copy has 0.999


@dataclass(frozen=True)
class Pair:
    """Two photos that look the same: their split and index in it, and how alike they are."""

    one: tuple[str, int]
    other: tuple[str, int]
    bits: int
    correlation: float


def grey_picture(path: Path) -> NDArray[np.float32]:
    """The centre square in 32×32 grey values of mean 0 and norm 1.

    Raises:
        DataError: the photo cannot be read.
    """
    with readable(path), Image.open(path) as opened:
        opened.draft("L", (4 * GREY_SIDE, 4 * GREY_SIDE))
        image = opened.convert("L")
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    small = image.resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX, box=(left, top, left + edge, top + edge))
    grey = np.asarray(small, np.float32)
    grey = grey - grey.mean()
    return np.asarray(grey / max(float(np.linalg.norm(grey)), 1e-6), np.float32)


def hash_bits(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, 32, 32)`` grey pictures -> ``(n, 64)`` of −1 and 1: signs of low DCT coefficients about their median."""
    k = np.arange(HASH_SIDE + 1)[:, None]
    basis = np.cos(np.pi * k * (2 * np.arange(GREY_SIDE) + 1) / (2 * GREY_SIDE))[1:]  # without the constant term
    low = (basis @ grey @ basis.T).reshape(len(grey), -1)
    return np.where(low > np.median(low, axis=1, keepdims=True), 1.0, -1.0).astype(np.float32)


def _orientations(grey: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The 8 ways to turn and mirror ``(n, h, h)`` pictures."""
    for mirrored in (grey, grey[:, :, ::-1]):
        for turns in range(4):
            yield np.rot90(mirrored, turns, axes=(1, 2))


def near_duplicates(grey: NDArray[np.float32], others: NDArray[np.float32]) -> list[tuple[int, int, int, float]]:
    """Pairs (row of `grey`, row of `others`, differing bits, correlation) that look the same in some orientation."""
    best: dict[tuple[int, int], tuple[int, float]] = {}
    bits = hash_bits(grey)
    for turned in _orientations(others):
        other_bits = hash_bits(turned)
        for start in range(0, len(grey), BLOCK):
            differing = (HASH_SIDE**2 - bits[start : start + BLOCK] @ other_bits.T) / 2
            for row, j in zip(*np.nonzero(differing <= MAX_BITS), strict=True):
                pair = start + int(row), int(j)
                correlation = float((grey[pair[0]] * turned[pair[1]]).sum())
                if correlation >= MIN_CORRELATION and correlation > best.get(pair, (0, 0.0))[1]:
                    best[pair] = int(differing[row, j]), correlation
    return [(i, j, *found) for (i, j), found in sorted(best.items())]


def across_splits(photos: Mapping[str, Sequence[Photo]]) -> list[Pair]:
    """Near-duplicates that stand on two sides of the split; most alike first."""
    grey = {split: np.stack([grey_picture(p.path) for p in photos[split]]) for split in SPLITS if photos[split]}
    names = list(grey)
    pairs = [
        Pair((one, i), (other, j), bits, correlation)
        for place, one in enumerate(names)
        for other in names[place + 1 :]
        for i, j, bits, correlation in near_duplicates(grey[one], grey[other])
    ]
    return sorted(pairs, key=lambda pair: -pair.correlation)


def groups(grey: NDArray[np.float32]) -> list[int]:
    """For each of n photos the smallest index of a photo that it is linked to by near-duplicates."""
    component = components([(i, j) for i, j, _, _ in near_duplicates(grey, grey)], len(grey))
    first: dict[int, int] = {}
    return [first.setdefault(number, index) for index, number in enumerate(component)]


def components(links: Sequence[tuple[int, int]], count: int) -> list[int]:
    """Of `count` things, the number of the group that `links` put each into."""
    rows, columns = np.array(links, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links), bool), (rows, columns)), shape=(count, count))
    return [int(number) for number in connected_components(graph, directed=False)[1]]
