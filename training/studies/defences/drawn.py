"""Drawn lesions and a network of three layers: a run of the study within seconds, whose figures mean nothing."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from securesplit.imaging.synthetic import draw_lesion
from training.data.dataset import Split, centre_square
from training.data.photo import Photo

SIDE = 40
CUT = "middle"
COUNTS = {"train": 96, "val": 64}
EPOCHS = 4


def splits() -> dict[str, Split]:
    """Two photos of each lesion, the second one mirrored; the darker half of the lesions is called malignant."""
    return {name: _split(name, count, 10_000 * place) for place, (name, count) in enumerate(COUNTS.items())}


def _split(name: str, count: int, first: int) -> Split:
    drawn = np.stack([draw_lesion(first + seed, SIDE) for seed in range(count // 2)])
    squares = np.stack([drawn, drawn[:, :, ::-1]], axis=1).reshape(count, SIDE, SIDE, 3)
    beside = (SIDE * 4 // 3 - SIDE) // 2
    frames = np.pad(squares, ((0, 0), (0, 0), (beside, beside), (0, 0)), "symmetric")
    middle = squares[:, SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4].mean((1, 2, 3))
    dark = middle < np.median(middle)
    photos = tuple(
        Photo(
            *(Path(f"{name}-{i}"), bool(dark[i]), f"{name}-{i // 2}", "mel" if dark[i] else "nv"),
            age=str(30 + 7 * i % 50),
            sex=("male", "female")[i // 2 % 2],
            site=("back", "hand")[i // 4 % 2],
        )
        for i in range(count)
    )
    return Split(photos, frames.astype(np.uint8))


def network(train: Split) -> keras.Model:
    """Fitted to tell the darker half."""
    photo = keras.Input((SIDE, SIDE, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0)(photo)
    cut = keras.layers.Conv2D(8, 4, strides=4, activation="relu", name=CUT)(scaled)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 1, activation="relu")(cut))
    model = keras.Model(photo, {"malignant": keras.layers.Dense(1)(pooled)})
    loss = {"malignant": keras.losses.BinaryCrossentropy(from_logits=True)}
    model.compile(keras.optimizers.Adam(1e-2), loss)
    squares = np.asarray(centre_square(train.pixels), np.float32)
    model.fit(squares, {"malignant": train.malignant[:, None]}, batch_size=16, epochs=EPOCHS, verbose=0)
    return model
