"""The networks of a finished `guarded` as one archive of half precision, to carry between machines and backends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from securesplit.atomic import atomic_write
from securesplit.errors import ConfigError
from training.output import NO_ARCHIVE


def save(models: Mapping[str, keras.Model], file: Path) -> None:
    """Write the weights as float16, called by part and number: ``encoder.0`` and so on."""
    arrays = {
        f"{name}.{place}": np.asarray(weight, np.float16)
        for name, model in models.items()
        for place, weight in enumerate(model.get_weights())
    }
    with atomic_write(file) as own, own.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def load(models: Mapping[str, keras.Model], file: Path) -> None:
    """Give `models` what `save` wrote.

    Raises:
        ConfigError: it is no such archive, or one of other sizes.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            held = {part: range(_count(archive.files, part)) for part in models}
            stored = {part: [archive[f"{part}.{place}"] for place in places] for part, places in held.items()}
    except (*NO_ARCHIVE, KeyError) as error:
        hint = "give the guarded.npz of a run of training.release.guarded"
        raise ConfigError(f"cannot read {file} ({error})", hint=hint) from None
    for name, model in models.items():
        if [weight.shape for weight in stored[name]] != [tuple(weight.shape) for weight in model.weights]:
            raise ConfigError(f"{file} holds no {name} of these sizes", hint="give the options that it was made with")
        model.set_weights([weight.astype(np.float32) for weight in stored[name]])


def _count(names: list[str], part: str) -> int:
    return sum(name.startswith(f"{part}.") for name in names)
