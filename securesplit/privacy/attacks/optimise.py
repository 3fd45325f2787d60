"""A2 and A4: search for the photo that gives the release that was seen, with the head's own gradients.

A2 is the white-box inversion of Mahendran and Vedaldi (CVPR 2015) and He et al. (ACSAC 2019): minimise
‖O(f(x)) − o‖² / (2 (σ² + τ²)) + λ TV(x), with the defence O (the clip; the grid's half step is neglected) inside the
loss. A4 starts from what A3 rebuilt and keeps near it: the maximum a posteriori photo under A3's answer as prior mean.
No weight is guessed; all three are likelihoods that the attacker measures on its own photos: τ² is what the resolution
of the search changes in a release, λ belongs to a Laplace prior on neighbouring pixels' differences, and nearness to
A3's own error. Optimisation alone flatters a defence (a published one scored SSIM 0.059 against A2 and 0.428 against
A3), so neither is ever reported alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from securesplit.privacy.attacks.setting import Known, Releases, Surface
from securesplit.privacy.attacks.whitebox import WhiteBox
from securesplit.privacy.metrics import Photos

MEASURED_PHOTOS = 16
"""Own photos on which τ² is measured."""
BESIDE_START = 0.1
"""Share of λ that is kept beside A4's start, which is smooth already."""


@dataclass(frozen=True)
class Search:
    """How the search runs.

    Args:
        steps: of Adam.
        learning_rate: at the first step; it falls as a cosine.
    """

    steps: int = 300
    learning_rate: float = 0.02


@dataclass(frozen=True)
class Start:
    """A4's start.

    Args:
        photos: ``(m, side, side, 3)``, what A3 rebuilt.
        error: A3's mean squared error on photos that it was not fitted to.
    """

    photos: Photos
    error: float


def reconstruct(
    box: WhiteBox, surface: Surface, known: Known, observed: Releases, *, search: Search, start: Start | None = None
) -> Photos:
    """Rebuild photos by optimisation, all at once.

    Args:
        box: the head, differentiable.
        surface: which of its outputs was released, and how.
        known: the attacker's photos; their mean is A2's start, and the weights are measured on them.
        observed: ``(m, *shape)`` what was sent.
        search: its settings.
        start: A3's answer for A4; None: the mean photo.

    Returns:
        ``(m, side, side, 3)`` in [0, 1].
    """
    import tensorflow as tf

    mean = np.repeat(known.photos.mean(0, keepdims=True), len(observed), axis=0)
    first, nearness = (mean, 0.0) if start is None else (start.photos, 1 / (2 * start.error))
    smoothness = _smoothness(known) * (1.0 if start is None else BESIDE_START)
    anchor = tf.constant(first, tf.float32)
    photos = tf.Variable(anchor)
    schedule = tf.keras.optimizers.schedules.CosineDecay(search.learning_rate, search.steps)
    adam = tf.keras.optimizers.Adam(schedule)
    target = tf.constant(observed, tf.float32)
    weight = _data_weight(tf, box, surface, known)

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> Any:
        with tf.GradientTape() as tape:
            residual = _released(tf, box, surface, photos) - target
            data = tf.reduce_sum(tf.square(residual)) * weight
            smooth = smoothness * tf.reduce_sum(tf.image.total_variation(photos))
            near = nearness * tf.reduce_sum(tf.square(photos - anchor))
            loss = data + smooth + near
        adam.apply_gradients([(tape.gradient(loss, photos), photos)])
        photos.assign(tf.clip_by_value(photos, 0.0, 1.0))
        return loss

    for _ in range(search.steps):
        step()
    return np.asarray(photos.numpy(), np.float32)


def _released(tf: Any, box: WhiteBox, surface: Surface, photos: Any) -> Any:
    """Photos at the search's resolution -> releases, with the clip and without grid and noise."""
    embedding = box(tf.image.resize(photos, (box.side, box.side)) * 255.0)[surface.name]
    if surface.spec is None or surface.spec.clip_norm is None:
        return embedding
    norm = tf.sqrt(tf.reduce_sum(tf.square(embedding), axis=-1, keepdims=True) + 1e-12)
    return embedding * tf.minimum(1.0, surface.spec.clip_norm / norm)


def _data_weight(tf: Any, box: WhiteBox, surface: Surface, known: Known) -> float:
    """1 / (2 (σ² + τ²))."""
    few = known.first(MEASURED_PHOTOS)
    coarse = _released(tf, box, surface, tf.constant(few.photos)).numpy()
    return 1 / (2 * (surface.sigma**2 + float(np.square(coarse - few.clean).mean()) + 1e-9))


def _smoothness(known: Known) -> float:
    """λ: one over the mean absolute difference of neighbouring pixels."""
    across = [float(np.abs(np.diff(known.photos[:200], axis=axis)).mean()) for axis in (1, 2)]
    return 1 / max(float(np.mean(across)), 1e-6)
