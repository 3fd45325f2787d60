"""A network's weights as arrays: their mean, and one compressed archive of half precision to carry between machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.atomic import atomic_write
from securesplit.errors import ConfigError
from training.output import NO_ARCHIVE

Weights = list[NDArray[np.float32]]
"""What ``get_weights`` of a network gives."""


def mean_of(weights: Sequence[Weights]) -> Weights:
    """Of each weight, the mean over networks."""
    return [np.mean(same, axis=0) for same in zip(*weights, strict=True)]


def save_weights_npz(network: keras.Model, path: Path) -> None:
    """Write every weight of `network` as float16, called ``0``, ``1``, … in the order of ``get_weights``.

    Values beyond the range of float16 (a batch norm's variance may be) are held at its ends.
    """
    largest = float(np.finfo(np.float16).max)
    weights = [np.clip(weight, -largest, largest).astype(np.float16) for weight in network.get_weights()]
    with atomic_write(path) as own, own.open("wb") as out:
        np.savez_compressed(out, **{str(place): weight for place, weight in enumerate(weights)})


def load_weights_npz(network: keras.Model, path: Path) -> None:
    """Give `network` the weights that `save_weights_npz` wrote, as float32.

    Raises:
        ConfigError: it is no such archive, or holds another number of weights, or weights of other shapes.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            stored = [archive[str(place)].astype(np.float32) for place in range(len(archive.files))]
    except (*NO_ARCHIVE, KeyError) as error:
        raise ConfigError(f"cannot read {path} ({error})", hint="give what save_weights_npz wrote") from None
    wanted = [tuple(weight.shape) for weight in network.weights]
    if [weight.shape for weight in stored] != wanted:
        raise ConfigError(f"{path} does not hold the weights of {network.name}", hint="write it from the same network")
    network.set_weights(stored)
