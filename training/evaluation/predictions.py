"""What a report needs from the photos: logits of every preset as it is deployed, and the colour-only baseline.

Both take minutes on two cores, so they are kept in a cache folder under the bundle's identity and the fingerprint of
the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.model import Bundle
from training.data.dataset import Dataset
from training.data.photo import Photo
from training.evaluation import baseline, deployed
from training.output import write_arrays

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Predictions:
    """Logits by split and preset, and the baseline's scores by split; rows follow `photos`.

    Logits of a preset with noise are of several draws, ``(draws * n,)``, all photos of a draw together.
    """

    photos: dict[str, tuple[Photo, ...]]
    logits: dict[str, dict[str, NDArray[np.float32]]]
    baseline: dict[str, NDArray[np.float64]]

    def malignant(self, split: str) -> NDArray[np.bool_]:
        """``(n,) bool``."""
        return baseline.labels(self.photos[split])

    def histology(self, split: str) -> NDArray[np.bool_]:
        """``(n,) bool``: confirmed by histopathology."""
        return np.array([p.dx_type == "histo" for p in self.photos[split]])

    def lesions(self, split: str) -> NDArray[np.str_]:
        """``(n,)``: which lesion each photo shows."""
        return np.array([p.lesion for p in self.photos[split]])


def predict(bundle: Bundle, data: Dataset, cache: Path) -> Predictions:
    """Run the deployed halves on validation and test photos, or read what an earlier run found.

    Raises:
        DataError: photos of a split, or the training photos of the sources that are tested, are all of one class.
        BundleError: the bundle cannot be opened.
    """
    data.check_classes(SPLITS)
    replace(data, photos={"train": _of_test(data.photos)}).check_classes(("train",))  # the baseline learns from them
    photos, key = data.photos, f"{bundle.identity.hex()[:16]}-{data.fingerprint[:16]}-{deployed.DRAWS}-draws"
    logits = {split: _cached(cache / f"{key}-{split}.npz", partial(_logits, bundle, data, split)) for split in SPLITS}
    scores = _cached(
        cache / f"floors-{data.fingerprint[:16]}.npz",
        lambda: dict(
            zip(SPLITS, baseline.colour_baselines(_of_test(photos), [photos[s] for s in SPLITS]), strict=True)
        ),
    )
    return Predictions({s: tuple(photos[s]) for s in SPLITS}, logits, scores)


def _of_test(photos: Mapping[str, Sequence[Photo]]) -> list[Photo]:
    """The training photos of the sources that are tested: others would only make the baseline weaker."""
    tested = {photo.source for photo in photos["test"]}
    return [photo for photo in photos["train"] if photo.source in tested]


def _logits(bundle: Bundle, data: Dataset, split: str) -> dict[str, Any]:
    shown = data.framed(bundle.manifest.framing).split(split, bundle.manifest.side)
    return deployed.measured_logits(bundle, shown)


def _cached(file: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if not file.is_file():
        write_arrays(file, compute())
    with np.load(file) as stored:
        return dict(stored)
