"""Cut maps of a fine-tuned network, computed once: what presets learn from.

The head stays as stage 1 left it, so the maps of every training photo (its centre square and several random views) are
computed once, and every epoch after that is cheap.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from securesplit.model import backbones
from training import command
from training.data.dataset import Dataset, Split, centre_square
from training.data.photo import SIDE, Photo
from training.network import run_record
from training.network.augmentation import Views
from training.output import write_arrays

THUMBNAIL = 8
"""Pixels of the picture of each view that the regularisers keep the release independent of."""
PHONE_REPEAT = 3
"""As often as the configuration of the shipped network shows each phone photo in an epoch."""
AGE = slice(0, 1)
"""The column of `secrets_of` that is the age."""


@dataclass(frozen=True)
class Cached:
    """Cut maps ``(n, h, w, c) float16`` of one split with what the undefended network made of them.

    ``teacher`` is its logit and ``malignant`` the label, both ``(n, 1) float32``; ``photo`` the index in the split's
    list that a view was made of, ``(n,)``; ``thumbnail`` the view itself at 8 pixels, ``(n, 8, 8, 3) float16`` in 0..1.
    """

    maps: NDArray[np.float16]
    teacher: NDArray[np.float32]
    malignant: NDArray[np.float32]
    photo: NDArray[np.int64]
    thumbnail: NDArray[np.float16]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of maps, teacher and labels, so of the weights, photos and views that they came from."""
        found = hashlib.sha256()
        for part in (self.maps, self.teacher, self.malignant, self.photo):
            found.update(part.tobytes())
        return found.hexdigest()


def split_network(network: keras.Model, backbone: str) -> tuple[keras.Model, keras.Model]:
    """The fine-tuned network as (photo -> cut map, cut map -> logit of malignant)."""
    cut = network.get_layer(backbones.BACKBONES[backbone].cut).output
    return keras.Model(network.input, cut, name="head"), keras.Model(cut, network.output["malignant"], name="tail")


def cache_split(network: keras.Model, backbone: str, split: Split, views: int, seed: int) -> Cached:
    """Cut maps and teacher logits of `split`: the centre square and `views` random views of each photo.

    Phone photos, of which there are few, have `PHONE_REPEAT` times as many random views.
    """
    cut = network.get_layer(backbones.BACKBONES[backbone].cut).output
    both = keras.Model(network.input, [cut, network.output["malignant"]])
    square, index = centre_square(split.pixels), np.arange(len(split.photos))
    maps, teacher = both.predict(square, batch_size=64, verbose=0)
    parts = [(maps.astype(np.float16), teacher, index, _thumbnails(square))]
    random = Views("dermoscopy", 1.0, split.pixels.shape[1:3], SIDE, seed)
    shown = np.repeat(np.tile(index, views), np.tile(np.where(split.is_phone, PHONE_REPEAT, 1), views))
    for which in np.array_split(shown, max(1, len(shown) // 64)) if views else ():
        frames = ops.convert_to_tensor(split.pixels[which].astype(np.float32))
        photos = ops.convert_to_numpy(random.fit(random.square(frames)))
        maps, teacher = both.predict_on_batch(photos)
        parts.append((np.asarray(maps, np.float16), np.asarray(teacher), which, _thumbnails(photos)))
    maps, teacher, which, thumbnails = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Cached(maps, teacher, split.malignant[which][:, None], which, thumbnails)


def _thumbnails(photos: Any) -> NDArray[np.float16]:
    """``(n, side, side, 3)`` in 0..255 -> ``(n, 8, 8, 3)`` in 0..1."""
    edges = np.linspace(0, photos.shape[1], THUMBNAIL + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(np.asarray(photos), edges, axis=1, dtype=np.float32), edges, axis=2)
    lengths = np.diff(edges, append=photos.shape[1])
    return np.asarray(sums / (255 * lengths[:, None] * lengths)[..., None], np.float16)


def cache_arguments(description: str | None) -> argparse.ArgumentParser:
    """The command line of what works on the caches of a run: what `load_cached` takes."""
    parser = command.parser(description)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--backbone", default="efficientnetv2b0")
    parser.add_argument("--views", type=command.whole(0), default=1)
    return parser


def load_cached(run: Path, network: keras.Model, data: Dataset, backbone: str, *, views: int) -> tuple[Cached, Cached]:
    """Train and validation caches of the run's best weights and of these photos, from disk where they are of both.

    Args:
        run: its folder.
        network: with those weights, of `training.network.train.shipped_of`.
        data: the photos.
        backbone: of the network.
        views: random ones of each training photo.
    """
    weights = run_record.best_weights(run)
    made_from = f"{hashlib.sha256(weights.read_bytes()).hexdigest()} {data.fingerprint} {data.framing} {backbone}"
    caches = []
    for name, count in (("train", views), ("val", 0)):
        file = run / f"views-{name}-{count}.npz"
        stored = stored_cache(file, made_from)
        if stored is None:
            stored = cache_split(network, backbone, data.split(name, SIDE), count, seed=2)
            write_arrays(file, {"made_from": np.array(made_from), **arrays_of(stored)})
        caches.append(stored)
    return caches[0], caches[1]


def stored_cache(file: Path, made_from: str) -> Cached | None:
    """The cache in `file`; None where there is none, or one of other weights or photos."""
    if not file.is_file():
        return None
    with np.load(file) as stored:
        if str(stored.get("made_from")) != made_from:
            return None
        return Cached(**{field.name: stored[field.name] for field in fields(Cached)})


def arrays_of(cached: Cached) -> dict[str, NDArray[Any]]:
    """Its arrays by name."""
    return {field.name: getattr(cached, field.name) for field in fields(cached)}


def targets(cached: Cached) -> NDArray[np.float32]:
    """``(n, 2)``: label and teacher's probability."""
    return np.concatenate([cached.malignant, 1 / (1 + np.exp(-cached.teacher))], axis=1).astype(np.float32)


def secrets_of(photos: Sequence[Photo]) -> NDArray[np.float32]:
    """``(n, q)``: age, sex and site of each photo, standardised; 0 where it is not known."""
    ages = np.array([np.nan if p.years is None else p.years for p in photos])
    sexes = np.array([{"male": 1.0, "female": -1.0}.get(p.sex, np.nan) for p in photos])
    sites = sorted({p.site for p in photos} - {"", "unknown"})
    columns = [ages, sexes, *(np.array([float(p.site == site) for p in photos]) for site in sites)]
    values = np.stack(columns, axis=1)
    found, some = np.zeros(values.shape, np.float32), np.isfinite(values).any(axis=0)
    values = values[:, some]
    known = np.isfinite(values)
    mean = np.mean(values, axis=0, where=known, keepdims=True)
    spread = np.std(values, axis=0, where=known, keepdims=True) + 1e-6
    found[:, some] = np.where(known, (values - mean) / spread, 0.0)
    return found
