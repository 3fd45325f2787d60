"""A cheap, honest figure of what an undefended cut gives away: the audit's linear inverse (A1) at every cut.

Rebuilt are pictures of 32×32 pixels of lesions that the attacker does not have. Maps are averaged down to at most 32×32
cells and turned to their 32 strongest principal directions, which an attacker can do and which bounds memory. The
figure is MSE skill over the mean picture: 0 learns nothing, 1 is the picture itself. It is a lower bound of what leaks,
for A1 is the weakest of the audit's attacks; beside it stands what the network's answer alone gives away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import baselines, metrics
from securesplit.audit.attacks import ridge
from securesplit.audit.context import as_photos
from securesplit.audit.metrics import Estimate, Photos
from securesplit.audit.patches import area_weights
from securesplit.audit.photos import Collection
from securesplit.audit.setting import AttackerKnowledge
from securesplit.model.splitting import ANSWER

AUXILIARY, TARGETS = 200, 80
"""Photos of the attacker, and of those to rebuild."""
SIDE = 32
MOST_CELLS = 32
MOST_CHANNELS = 32
SEED = 1
MOST_KEPT_BYTES = 384 << 20
"""Of reduced maps that are kept at a time."""
BATCH = 16
FLOAT32_BYTES = 4

Maps = Callable[[Sequence[str]], Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]]]
"""Cuts -> what computes ``(n, s, s, 3) uint8`` -> by cut ``(n, *shape)``, channels last."""


@dataclass(frozen=True)
class Leakage:
    """What was rebuilt.

    Attributes:
        photos: of the attacker, how many.
        targets: rebuilt, how many.
        source: of the photos, by name.
        skill: by cut.
        answer_skill: from the network's answer alone, which the worker learns at any cut.
        mean_mse: of the mean picture, the error that skill is measured against.
    """

    photos: int
    targets: int
    source: str
    skill: Mapping[str, Estimate]
    answer_skill: Estimate
    mean_mse: float


class Reduction:
    """Maps ``(n, *shape)`` as an attack of bounded size takes them: few cells, few channels.

    Args:
        sample: maps of the attacker, which set the directions.
    """

    def __init__(self, sample: NDArray[np.float32]) -> None:
        flat = self._cells(sample).reshape(-1, self._cells(sample).shape[-1]).astype(np.float64)
        self._mean = flat.mean(0)
        covariance = np.cov(flat, rowvar=False).reshape(flat.shape[1], flat.shape[1])
        self._directions = np.linalg.eigh(covariance)[1][:, ::-1][:, :MOST_CHANNELS]

    def __call__(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n, cells, cells, channels)``, or ``(n, numbers)`` of a flat cut."""
        cells = self._cells(maps)
        return np.asarray((cells - self._mean) @ self._directions, np.float32)

    @staticmethod
    def _cells(maps: NDArray[np.float32]) -> NDArray[np.float32]:
        if maps.ndim != 4:
            return maps.reshape(len(maps), -1)
        cells = min(MOST_CELLS, max(maps.shape[1:3]))
        rows, columns = (area_weights(edge, cells) for edge in maps.shape[1:3])
        return np.asarray(np.einsum("rh,cw,nhwk->nrck", rows, columns, maps, optimize=True), np.float32)


def measure(
    maps: Maps,
    shapes: Mapping[str, tuple[int, ...]],
    collection: Collection,
    is_time: Callable[[], bool],
) -> Leakage:
    """A1 at each cut, as long as there is time; at least at those of the first group.

    Args:
        maps: what the network computes at cuts; `securesplit.model.splitting.ANSWER` is one of them.
        shapes: of the cuts to attack, in the order in which they are taken.
        collection: of photos.
        is_time: for more.
    """
    known, targets = collection.auxiliary.pixels, collection.targets.pixels
    pictures, truth = as_photos(known, SIDE), as_photos(targets, SIDE)
    clusters = collection.targets.clusters
    answer = _skill(pictures, truth, *_reduced(maps([ANSWER]), known, targets)[ANSWER], clusters)
    skill: dict[str, Estimate] = {}
    for group in _groups(shapes, len(known) + len(targets)):
        if skill and not is_time():
            break
        kept = _reduced(maps(group), known, targets)
        for layer in group:
            if skill and not is_time():
                break
            skill[layer] = _skill(pictures, truth, *kept.pop(layer), clusters)
    return Leakage(
        photos=len(known),
        targets=len(targets),
        source=collection.name,
        skill=skill,
        answer_skill=answer,
        mean_mse=float(metrics.mse(truth, _mean(pictures, len(truth))).mean()),
    )


def _skill(
    pictures: Photos,
    truth: Photos,
    known: NDArray[np.float32],
    seen: NDArray[np.float32],
    clusters: NDArray[np.intp],
) -> Estimate:
    attacker = AttackerKnowledge(pictures, known, np.zeros(len(known), bool))
    rebuilt = ridge.reconstruct(attacker, seen, 0.0, SEED)
    return metrics.skill(truth, rebuilt, _mean(pictures, len(truth)), clusters)


def _mean(pictures: Photos, count: int) -> Photos:
    return baselines.mean_image(AttackerKnowledge(pictures, pictures, np.zeros(len(pictures), bool)), count)


def _groups(shapes: Mapping[str, tuple[int, ...]], photos: int) -> Iterator[list[str]]:
    """Cuts whose reduced maps of all photos are kept together."""
    group: list[str] = []
    left = MOST_KEPT_BYTES
    for layer, shape in shapes.items():
        needed = FLOAT32_BYTES * photos * min(math.prod(shape), MOST_CHANNELS * MOST_CELLS**2)
        if group and needed > left:
            yield group
            group, left = [], MOST_KEPT_BYTES
        group.append(layer)
        left -= needed
    yield group


def _reduced(
    maps: Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]],
    known: NDArray[np.uint8],
    targets: NDArray[np.uint8],
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """By cut, the reduced maps of the attacker's photos and of the targets'."""
    ways: dict[str, Reduction] = {}
    kept: dict[str, list[NDArray[np.float32]]] = {}
    for batch in _batches(np.concatenate([known, targets])):
        for layer, found in maps(batch).items():
            if layer not in ways:
                ways[layer] = Reduction(found)
            kept.setdefault(layer, []).append(ways[layer](found))
    whole = {layer: np.concatenate(parts) for layer, parts in kept.items()}
    return {layer: (each[: len(known)], each[len(known) :]) for layer, each in whole.items()}


def _batches(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH))
