"""Cached views of photos, and the batches that are drawn from them. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from securesplit.errors import ConfigError
from training.release.guarded import losses

Array = NDArray[Any]


def means_by_class(values: Array, labels: Array) -> Array:
    """``(2, ...)``: means of the rows of `values` ``(n, ...)`` whose label ``(n,)`` is 0, and 1."""
    return np.stack([values[labels == label].mean(0) for label in (0, 1)])


@dataclass(frozen=True)
class CutViews:
    """What training knows of cached views; every array has a row for each.

    Attributes:
        maps: ``(n, h, w, c) float16``.
        thumbs: ``(n, 32, 32, 3) float16`` in 0..1.
        labels: ``(n,) int32``, 1 for malignant.
        logits: ``(n,) float32``, of the undefended network.
        lesions: ``(n,)``, equal for views of one lesion.
    """

    maps: Array
    thumbs: Array
    labels: Array
    logits: Array
    lesions: Array

    def partners(self, rng: np.random.Generator) -> Array:
        """``(n,)``: for each view another one of its lesion, drawn by `rng`; itself where there is none."""
        order = rng.permutation(len(self.lesions))
        order = order[np.argsort(self.lesions[order], kind="stable")]
        names = self.lesions[order]
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
        following = np.arange(1, len(names) + 1)
        following[np.r_[starts[1:], len(names)] - 1] = starts
        found = np.empty(len(names), np.int64)
        found[order] = order[following]
        return found


class Batches:
    """Batches of views whose second half shows the lesions of the first again; the same for a seed and a step.

    Args:
        views: to draw from; malignant ones are drawn twice as often.
        size: views a batch, an even number.
        teacher_share: of the target that is the undefended network's probability; the rest is the label.
        seed: of the draws.

    Raises:
        ConfigError: there are fewer views than a batch takes.
    """

    def __init__(self, views: CutViews, size: int, teacher_share: float, seed: int) -> None:
        self.views, self.size, self.seed = views, size, seed
        taught = expit(views.logits)
        self.targets = (teacher_share * taught + (1 - teacher_share) * views.labels).astype(np.float32)
        thumbs = views.thumbs.astype(np.float32)
        self.class_means = means_by_class(thumbs, views.labels)
        self.secrets = np.asarray(losses.secrets_of(thumbs))
        self.secret_means = means_by_class(self.secrets, views.labels)
        self.pool = np.concatenate([np.arange(len(views.labels)), np.flatnonzero(views.labels)])
        if len(self.pool) < size:
            raise ConfigError(
                f"{len(views.labels)} views are too few for a batch of {size}", hint="give a smaller --batch"
            )
        self.partners = views.partners(np.random.default_rng(seed))

    def draw(self, step: int) -> dict[str, Array]:
        """The batch of `step`."""
        rng = np.random.default_rng([self.seed, step])
        rows = rng.choice(self.pool, self.size // 2, replace=False)
        return self.of(np.concatenate([rows, self.partners[rows]]))

    def of(self, rows: Array) -> dict[str, Array]:
        """The views at `rows`."""
        labels = self.views.labels[rows]
        return {
            "maps": self.views.maps[rows].astype(np.float32),
            "thumbs": self.views.thumbs[rows].astype(np.float32),
            "labels": labels,
            "targets": self.targets[rows],
            "class_means": self.class_means[labels],
            "secrets": self.secrets[rows],
            "secret_means": self.secret_means[labels],
        }
