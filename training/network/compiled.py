"""A training run whose photos lie in the accelerator's memory and whose every step is compiled (JAX)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from training.data.pack import PackedPhotos
from training.network.augmentation import Views
from training.network.config import Config
from training.network.mixing import Mixing
from training.network.model import loss_weight, photo_losses
from training.network.targets import targets_and_weights, teacher_shares

STEPS = 8
"""Of one call of the accelerator."""

WARM_UP = 0.05
"""Share of the time."""

REPORT_S = 20.0
"""Between two lines of figures."""

FARTHEST = 6.0
"""Standard deviations at which a feature that is hinted at is cut off."""

_FEATURES = "pooled_features"


@dataclass(frozen=True)
class TrainingClock:
    """The share of a run's time that has passed."""

    start_s: float
    seconds: float

    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, (time.monotonic() - self.start_s) / self.seconds)

    def left(self) -> TrainingClock:
        """A clock for the time that is left, starting now: the rate then warms up after everything was compiled."""
        now = time.monotonic()
        return TrainingClock(now, max(1e-3, self.start_s + self.seconds - now))

    def rate(self, peak: float) -> float:
        """One part of warm-up, then a cosine down to 1 % of `peak`."""
        share = self.share()
        if share < WARM_UP:
            return peak * max(0.05, share / WARM_UP)
        return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))) / 2)


class Objective(keras.Model):  # type: ignore[misc]  # Keras is untyped
    """``(frames (b, h, w, 3) uint8, targets, weights, shares (b, 1))`` -> a batch's loss, views and teachers in it.

    `shares` are the teachers' in the targets (`training.network.targets.teacher_shares`).

    Args:
        network: of `training.network.model.build_model`.
        config: views, mixing, losses.
        frame: height and width of a photo in memory.
        teachers: of `build_model`, too, with an end for each of the network's but those at the cut.
        hint: weight of the squared distance between what a linear map makes of the network's pooled features and the
            teachers' own, standardized over the batch (Romero et al., FitNets, ICLR 2015); 0: none.
    """

    def __init__(
        self,
        network: keras.Model,
        config: Config,
        frame: tuple[int, int],
        teachers: Sequence[keras.Model],
        hint: float = 0.0,
    ) -> None:
        super().__init__()
        self.ends = tuple(network.output)
        self.network, self.teachers = _with_features(network), [_with_features(teacher) for teacher in teachers]
        for teacher in self.teachers:
            teacher.trainable = False
        self._hint = hint
        if hint:
            features, *theirs = (model.output[_FEATURES].shape[-1] for model in (self.network, *self.teachers))
            self.map = keras.layers.Dense(sum(theirs), dtype="float32")
            self.map.build((None, features))
        seed = config.seed * 1000
        self._config = config
        self._views = Views(config.views, config.strength, frame, config.side, seed, config.hairs)
        self._mixing = Mixing(config, seed + 9)
        self.tracked = [*self._views.layers, self._mixing.seeds]

    def build(self, *_: Any) -> None:
        """Its parts are built already; a first call outside of a compiled step would compile each operation alone."""
        self.built = True

    def call(self, inputs: Any, *, training: bool) -> Any:
        """A scalar."""
        frames, targets, weights, shares = inputs
        squares = self._views.square(ops.cast(frames, "float32"))
        if self.teachers:
            targets = self._taught(targets, shares, self._views.fit(squares))
        config = self._config
        shown, targets, weights = self._mixing(self._views.fit(squares), targets, weights)
        answers = self.network(shown, training=training)
        features = answers.pop(_FEATURES)
        loss = sum(
            loss_weight(name, config)
            * ops.mean(weights[name] * photo_losses(name, targets[name], ops.cast(answers[name], "float32"), config))
            for name in answers
        )
        return loss + self._hint * self.distance(features, shown) if self._hint else loss

    def distance(self, features: Any, shown: Any) -> Any:
        """From what `map` makes of pooled features to the teachers' own, who are shown the mixed photos themselves."""
        theirs = [ops.cast(teacher(shown, training=False)[_FEATURES], "float32") for teacher in self.teachers]
        wanted = ops.concatenate(theirs, axis=-1)
        mean, variance = ops.moments(wanted, axes=0, keepdims=True)
        standard = ops.clip((wanted - mean) / ops.sqrt(variance + 1e-6), -FARTHEST, FARTHEST)
        return ops.mean((self.map(ops.cast(features, "float32")) - jax.lax.stop_gradient(standard)) ** 2)

    def _taught(self, targets: dict[str, Any], share: Any, shown: Any) -> dict[str, Any]:
        """Targets of every end, `share` of which ``(b, 1)`` becomes what the teachers answer."""
        answers = [teacher(shown, training=False) for teacher in self.teachers]
        mixed = {}
        for name, y in targets.items():
            end = name.removeprefix("cut_")
            squash = ops.sigmoid if end == "malignant" else ops.softmax
            probability = sum(squash(ops.cast(answer[end], "float32")) for answer in answers) / len(answers)
            mixed[name] = (1 - share) * y + share * jax.lax.stop_gradient(probability)
        return mixed


def _with_features(network: keras.Model) -> keras.Model:
    """`network` with its pooled features as one more output."""
    return keras.Model(network.input, {**network.output, _FEATURES: network.get_layer("pool").output})


class Trainer:
    """The state of a run on the accelerator, and its compiled steps.

    Args:
        objective: what is made small.
        config: optimizer, moving average.
        photos: all of them; they are copied to the accelerator once.
    """

    def __init__(self, objective: Objective, config: Config, photos: PackedPhotos) -> None:
        objective.build()
        self._objective, self._ema = objective, config.ema
        self._optimizer = keras.optimizers.AdamW(1e-3, weight_decay=config.weight_decay, clipnorm=1.0)
        self._optimizer.build(objective.trainable_variables)
        self._rate_at = [v.path.split("/")[-1] for v in self._optimizer.variables].index("learning_rate")
        ends = objective.ends
        labels = [{name: group[name] for name in ends} for group in targets_and_weights(photos, config)]
        self._data = jax.device_put((photos.pixels, *labels, teacher_shares(photos, config)))
        trained, others = objective.trainable_variables, objective.non_trainable_variables
        self._state = tuple(  # copies, for each call takes the state before it over
            [jax.numpy.array(v.value, copy=True) for v in variables]
            for variables in (trained, others, self._optimizer.variables, trained)
        )
        rows = np.zeros((STEPS, config.batch), np.int32)
        run = jax.jit(self._steps, donate_argnums=0)
        self._run = run.lower(self._state, self._data, rows, np.float32(0)).compile()

    def run(
        self,
        rows: Iterator[NDArray[np.int64]],
        peak: float,
        clock: TrainingClock,
        report: Callable[[], None] = lambda: None,
    ) -> int:
        """Train until the clock has run out, then put the averaged weights into the network; return the steps done.

        Args:
            rows: ``(STEPS, b)`` photo numbers, without end.
            peak: of the learning rate.
            clock: has just started.
            report: called every `REPORT_S`, with averaged weights in the network.
        """
        done, said_s = 0, time.monotonic()
        for chosen in rows:
            rate = np.float32(clock.rate(peak))
            self._state, loss = self._run(self._state, self._data, chosen.astype(np.int32), rate)
            loss, done = float(loss), done + STEPS
            if time.monotonic() - said_s > REPORT_S:
                self._average()
                print(f"{clock.share():.2f} step {done} loss {loss:.4f} ", end="")
                report()
                said_s = time.monotonic()
            if clock.share() >= 1.0:
                break
        self._average()
        return done

    def _average(self) -> None:
        variables = (self._objective.trainable_variables, self._objective.non_trainable_variables)
        for group, values in zip(variables, (self._state[3], self._state[1]), strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    def _steps(self, state: Any, photos_and_labels: Any, rows: Any, rate: Any) -> Any:
        def one(carry: Any, chosen: Any) -> Any:
            trained, others, optimizer, mean = carry
            batch = jax.tree.map(lambda values: values[chosen], photos_and_labels)
            (loss, others), slopes = jax.value_and_grad(self._loss, has_aux=True)(trained, others, batch)
            optimizer = [rate if i == self._rate_at else v for i, v in enumerate(optimizer)]
            trained, optimizer = self._optimizer.stateless_apply(optimizer, slopes, trained)
            count = optimizer[0].astype("float32")
            keep = jax.numpy.minimum(self._ema, count / (count + 10.0))
            mean = [keep * m + (1 - keep) * t for m, t in zip(mean, trained, strict=True)]
            return (trained, others, optimizer, mean), loss

        state, losses = jax.lax.scan(one, state, rows)
        return state, losses.mean()

    def _loss(self, trained: Any, others: Any, batch: Any) -> Any:
        return self._objective.stateless_call(trained, others, batch, training=True)


def answering(network: keras.Model, batch: int = 250) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What makes logits of malignant ``(n,)`` of ``(n, side, side, 3)`` photos, in batches of one size.

    It is compiled once, and answers with the weights that the network has when it is called.
    """
    ask = jax.jit(lambda v, x: network.stateless_call(*v, ops.cast(x, "float32"), training=False)[0]["malignant"])

    def answers(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        variables = [
            [v.value for v in group] for group in (network.trainable_variables, network.non_trainable_variables)
        ]
        padded = np.concatenate([squares, np.zeros((-len(squares) % batch, *squares.shape[1:]), np.uint8)])
        parts = [np.asarray(ask(variables, padded[i : i + batch]), np.float32) for i in range(0, len(padded), batch)]
        return np.concatenate(parts)[: len(squares), 0]

    return answers
