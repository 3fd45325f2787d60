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

from collections.abc import Callable
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
    """How the search runs: Adam until the loss falls no further, then finer, then finer still.

    Args:
        steps: at most.
        learning_rate: at the first step.
        look: steps between two looks at the loss.
        least_gain: share of the loss that must have been gained between two looks; else the rate is divided by `finer`.
        finer: divisor of the rate.
        rates: how many rates are tried; the search ends when the last one gains nothing.
        batch: photos that are searched for at once.
    """

    steps: int = 300
    learning_rate: float = 0.02
    look: int = 10
    least_gain: float = 0.01
    finer: float = 4.0
    rates: int = 3
    batch: int = 16


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
    """Rebuild photos by optimisation.

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
    mean = np.repeat(known.photos.mean(0, keepdims=True), len(observed), axis=0)
    first, nearness = (mean, 0.0) if start is None else (start.photos, 1 / (2 * start.error))
    smoothness = _smoothness(known) * (1.0 if start is None else BESIDE_START)
    size = min(search.batch, len(observed))
    find = _searcher(box, surface, known, (size, *first.shape[1:]), smoothness, nearness, search)
    rebuilt = []
    for at in range(0, len(observed), size):
        rows = np.minimum(np.arange(at, at + size), len(observed) - 1)  # the last batch repeats its last photo
        rebuilt.append(find(first[rows], observed[rows]))
    return np.concatenate(rebuilt)[: len(observed)]


def _searcher(
    box: WhiteBox,
    surface: Surface,
    known: Known,
    shape: tuple[int, ...],
    smoothness: float,
    nearness: float,
    search: Search,
) -> Callable[[Photos, Releases], Photos]:
    """(start, observed) -> rebuilt, for batches of one shape; compiled once."""
    import tensorflow as tf

    photos, anchor = (tf.Variable(np.zeros(shape, np.float32), trainable=t) for t in (True, False))
    target = tf.Variable(np.zeros((shape[0], *known.clean.shape[1:]), np.float32), trainable=False)
    adam = tf.keras.optimizers.Adam(search.learning_rate)
    adam.build([photos])
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

    def find(first: Photos, observed: Releases) -> Photos:
        for variable in adam.variables:
            variable.assign(tf.zeros_like(variable))
        for variable, value in ((photos, first), (anchor, first), (target, observed)):
            variable.assign(value)
        rates = iter(search.learning_rate / search.finer**i for i in range(search.rates))
        adam.learning_rate = next(rates)
        before = np.inf
        for number in range(search.steps):
            loss = step()
            if number % search.look:
                continue
            if (now := float(loss)) > (1 - search.least_gain) * before:
                rate = next(rates, None)
                if rate is None:
                    break
                adam.learning_rate = rate
            before = now
        return np.asarray(photos.numpy(), np.float32)

    return find


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
