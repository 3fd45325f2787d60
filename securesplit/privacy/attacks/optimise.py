"""A2 and A4: search for the photo that gives the release that was seen, with the head's own gradients.

A2 is the white-box inversion of Mahendran and Vedaldi (CVPR 2015) and He et al. (ACSAC 2019): minimise
‖O(f(x)) − o‖² / (2 σ²) + λ TV(x), with the defence O (the clip; the grid's half step is neglected) inside the loss. A4
starts from what A3 rebuilt and keeps near it: the maximum a posteriori photo under A3's answer as prior mean.
Optimisation alone flatters a defence (a published one scored SSIM 0.059 against A2 and 0.428 against A3), so neither is
ever reported alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from securesplit.privacy.attacks.setting import Known, Releases, Surface
from securesplit.privacy.attacks.whitebox import WhiteBox
from securesplit.privacy.metrics import Photos


@dataclass(frozen=True)
class Search:
    """How the search runs.

    Args:
        steps: of Adam.
        learning_rate: at the first step; it falls as a cosine.
        smoothness: λ of the total variation.
        nearness: weight of the squared distance from the start (A4); 0 for A2.
    """

    steps: int = 300
    learning_rate: float = 0.03
    smoothness: float = 0.05
    nearness: float = 0.0


def reconstruct(
    box: WhiteBox, surface: Surface, known: Known, observed: Releases, *, search: Search, start: Photos | None = None
) -> Photos:
    """Rebuild photos by optimisation, all at once.

    Args:
        box: the head, differentiable.
        surface: which of its outputs was released, and how.
        known: the attacker's photos; their mean is A2's start, their spread scales the loss.
        observed: ``(m, *shape)`` what was sent.
        search: its settings.
        start: ``(m, side, side, 3)``, A3's answer for A4; None: the mean photo.

    Returns:
        ``(m, side, side, 3)`` in [0, 1].
    """
    import tensorflow as tf

    first = np.repeat(known.photos.mean(0, keepdims=True), len(observed), axis=0) if start is None else start
    anchor = tf.constant(first, tf.float32)
    photos = tf.Variable(anchor)
    schedule = tf.keras.optimizers.schedules.CosineDecay(search.learning_rate, search.steps)
    adam = tf.keras.optimizers.Adam(schedule)
    target = tf.constant(observed, tf.float32)
    weight = _data_weight(surface, known)

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> Any:
        with tf.GradientTape() as tape:
            seen = tf.image.resize(photos, (box.side, box.side)) * 255.0
            residual = _defended(tf, surface, box(seen)[surface.name]) - target
            data = tf.reduce_sum(tf.square(residual)) * weight
            smooth = search.smoothness * tf.reduce_sum(tf.image.total_variation(photos))
            near = search.nearness * tf.reduce_sum(tf.square(photos - anchor))
            loss = data + smooth + near
        adam.apply_gradients([(tape.gradient(loss, photos), photos)])
        photos.assign(tf.clip_by_value(photos, 0.0, 1.0))
        return loss

    for _ in range(search.steps):
        step()
    return np.asarray(photos.numpy(), np.float32)


def _defended(tf: Any, surface: Surface, embedding: Any) -> Any:
    """The clip inside the loss; the grid's half step passes straight through."""
    if surface.spec is None or surface.spec.clip_norm is None:
        return embedding
    norm = tf.sqrt(tf.reduce_sum(tf.square(embedding), axis=-1, keepdims=True) + 1e-12)
    return embedding * tf.minimum(1.0, surface.spec.clip_norm / norm)


def _data_weight(surface: Surface, known: Known) -> float:
    """1 / (2 σ²); without noise, a hundredth of a number's variance over the known photos takes the place of σ²."""
    spread = float(known.clean.var(0).mean())
    return 1.0 / (2 * max(surface.sigma**2, 0.01 * spread, 1e-9))
