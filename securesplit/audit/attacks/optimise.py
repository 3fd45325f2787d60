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

from securesplit.audit.attacks.whitebox import WhiteBox
from securesplit.audit.metrics import Photos
from securesplit.audit.setting import AttackerKnowledge, Releases, ShouldContinue, Surface, always

MEASURED_PHOTOS = 16
"""Own photos on which τ² is measured."""
BESIDE_START = 0.1
"""Share of λ that is kept beside A4's start, which is smooth already."""


@dataclass(frozen=True)
class Search:
    """How the search runs: Adam until the loss falls no further, then finer, then finer still.

    Adam moves every pixel by about its rate, however little the release depends on it. A release of a few numbers
    needs a far smaller rate than a map, or the search only makes noise that it must take away again. So the first few
    steps are tried at several rates, and the search restarts at the one that got furthest.

    Args:
        steps: at most, those of the trials aside.
        first_rates: which are tried.
        look: steps of a trial, and between two looks at the loss.
        least_gain: share of the loss that must have been gained between two looks; else the rate is divided by `finer`.
        finer: divisor of the rate.
        rates: how many rates are tried; the search ends when the last one gains nothing.
        batch: photos that are searched for at once.
    """

    steps: int = 300
    first_rates: tuple[float, ...] = (0.02, 0.005, 0.00125)
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


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        photos: ``(m, side, side, 3)`` in [0, 1].
        steps: of Adam, the most of any batch.
        loss: at the end, mean over photos.
    """

    photos: Photos
    steps: int
    loss: float


class Searcher:
    """Searches for photos behind one preset's releases; the step is compiled once for each size of a batch.

    Args:
        box: the head, differentiable.
        surface: which of its outputs was released, and how.
        known: the attacker's photos; their mean is A2's start, and the weights are measured on them.
        search: its settings.
    """

    def __init__(self, box: WhiteBox, surface: Surface, known: AttackerKnowledge, search: Search) -> None:
        import tensorflow as tf

        self._tf, self._box, self._surface, self._known, self._search = tf, box, surface, known, search
        self._weight = _data_weight(tf, box, surface, known)
        self._smoothness = _smoothness(known)
        self._descents: dict[int, _Descent] = {}

    def find(
        self, observed: Releases, *, start: Start | None = None, should_continue: ShouldContinue = always
    ) -> Found:
        """Rebuild photos by optimisation.

        Args:
            observed: ``(m, *shape)`` what was sent.
            start: A3's answer for A4; None: the mean photo.
            should_continue: asked before each step; where it says no, photos are returned as far as they were found.
        """
        mean = np.repeat(self._known.photos.mean(0, keepdims=True), len(observed), axis=0)
        first, nearness = (mean, 0.0) if start is None else (start.photos, 1 / (2 * start.error))
        smoothness = self._smoothness * (1.0 if start is None else BESIDE_START)
        size = min(self._search.batch, len(observed))
        found, steps, losses = [], 0, []
        for at in range(0, len(observed), size):
            rows = np.minimum(np.arange(at, at + size), len(observed) - 1)  # the last batch repeats its last photo
            photos, taken, loss = self._descent(size)(
                first[rows], observed[rows], smoothness, nearness, should_continue
            )
            found.append(photos)
            losses.append(loss / size)
            steps = max(steps, taken)
        return Found(np.concatenate(found)[: len(observed)], steps, float(np.mean(losses)))

    def _descent(self, size: int) -> _Descent:
        if size not in self._descents:
            shape = (size, *self._known.photos.shape[1:])
            self._descents[size] = _Descent(self._tf, shape, self._data_loss(size), self._search)
        return self._descents[size]

    def _data_loss(self, size: int) -> tuple[Any, Callable[[Any], Any]]:
        """A variable for what was seen of a batch, and how badly photos explain it."""
        shape = (size, *self._known.noise_free.shape[1:])
        target = self._tf.Variable(np.zeros(shape, np.float32), trainable=False)

        def loss(photos: Any) -> Any:
            residual = released(self._tf, self._box, self._surface, photos) - target
            return self._tf.reduce_sum(self._tf.square(residual)) * self._weight

        return target, loss


class _Descent:
    """Adam on one batch of photos ``(n, side, side, 3)``."""

    def __init__(self, tf: Any, shape: tuple[int, ...], data: tuple[Any, Callable[[Any], Any]], search: Search) -> None:
        self._search = search
        self._photos, self._anchor = (tf.Variable(np.zeros(shape, np.float32), trainable=t) for t in (True, False))
        self._smoothness, self._nearness = (tf.Variable(0.0, trainable=False) for _ in range(2))
        self._target, data_loss = data
        self._adam = tf.keras.optimizers.Adam()
        self._adam.build([self._photos])

        def step() -> Any:
            with tf.GradientTape() as tape:
                smooth = self._smoothness * tf.reduce_sum(tf.image.total_variation(self._photos))
                near = self._nearness * tf.reduce_sum(tf.square(self._photos - self._anchor))
                loss = data_loss(self._photos) + smooth + near
            self._adam.apply_gradients([(tape.gradient(loss, self._photos), self._photos)])
            self._photos.assign(tf.clip_by_value(self._photos, 0.0, 1.0))
            return loss

        self._step = tf.function(step)

    def __call__(
        self, first: Photos, observed: Releases, smoothness: float, nearness: float, should_continue: ShouldContinue
    ) -> tuple[Photos, int, float]:
        """The photos, how many steps were taken from `first`, and the loss."""
        values = (first, observed, smoothness, nearness)
        variables = (self._anchor, self._target, self._smoothness, self._nearness)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        search = self._search
        tried = {}
        for rate in search.first_rates:
            self._begin(rate)
            tried[rate] = self._few(search.look, should_continue)[1]
        rate = min(tried, key=lambda r: tried[r])
        self._begin(rate)
        steps, before, loss, finer = 0, np.inf, np.inf, 0
        while steps < search.steps and finer < search.rates:
            taken, loss = self._few(min(search.look, search.steps - steps), should_continue)
            steps += taken
            if taken < search.look:
                break
            if loss > (1 - search.least_gain) * before:
                finer += 1
                self._adam.learning_rate = rate / search.finer**finer
            before = loss
        return np.asarray(self._photos.numpy(), np.float32), steps, loss

    def _begin(self, rate: float) -> None:
        """Back to the start, at that rate."""
        for variable in self._adam.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        self._photos.assign(self._anchor)
        self._adam.learning_rate = rate

    def _few(self, steps: int, should_continue: ShouldContinue) -> tuple[int, float]:
        """How many of so many steps there was time for, and the loss before the last of them."""
        loss: Any = np.inf
        for number in range(steps):
            if not should_continue():
                return number, float(loss)
            loss = self._step()
        return steps, float(loss)


def released(tf: Any, box: WhiteBox, surface: Surface, photos: Any) -> Any:
    """Photos at the search's resolution -> releases, with the clip and without grid and noise."""
    embedding = box(tf.image.resize(photos, (box.side, box.side)) * 255.0)[surface.name]
    if surface.spec is None or surface.spec.clip_norm is None:
        return embedding
    numbers = tuple(range(1, len(embedding.shape)))
    norm = tf.sqrt(tf.reduce_sum(tf.square(embedding), axis=numbers, keepdims=True) + 1e-12)
    return embedding * tf.minimum(1.0, surface.spec.clip_norm / norm)


def _data_weight(tf: Any, box: WhiteBox, surface: Surface, known: AttackerKnowledge) -> float:
    """1 / (2 (σ² + τ²))."""
    few = known.first(MEASURED_PHOTOS)
    coarse = released(tf, box, surface, tf.constant(few.photos)).numpy()
    return 1 / (2 * (surface.sigma**2 + float(np.square(coarse - few.noise_free).mean()) + 1e-9))


def _smoothness(known: AttackerKnowledge) -> float:
    """λ: one over the mean absolute difference of neighbouring pixels."""
    across = [float(np.abs(np.diff(known.photos[:200], axis=axis)).mean()) for axis in (1, 2)]
    return 1 / max(float(np.mean(across)), 1e-6)
