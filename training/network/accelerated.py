r"""Train a network within a number of seconds on one accelerator: the photos lie in its memory, every step is compiled.

    python -m training.data.pack --data ../shared/data --out build/photos.npz
    KERAS_BACKEND=jax python -m training.network.accelerated --photos build/photos.npz --seconds 200 \
        --config collection --start build/warm.npz --teacher build/one.npz --out build/run

`training.train` is the command for any machine; this one is for a short loan of a fast one. It takes the same
configurations, but the rate of learning follows the share of the time that has passed, so that a run ends in time
however fast the accelerator is; what it did (steps, epochs, seconds) is written beside the weights. A teacher's
probability is asked for the very view that the student sees (Beyer et al., Knowledge distillation: A good teacher is
patient and consistent, CVPR 2022); several starts are averaged (Wortsman et al., Model soups, ICML 2022).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from securesplit.errors import ConfigError
from securesplit.text import figures_json
from training import command
from training.data.pack import PackedPhotos
from training.network import validation
from training.network.augmentation import Views
from training.network.batches import epoch_order
from training.network.config import CONFIGS, Config, named
from training.network.mixing import Mixing
from training.network.model import build_model, loss_weight
from training.network.quick_weights import drawn_by_numpy
from training.network.targets import targets_and_weights
from training.network.weights_npz import load_weights_npz, save_weights_npz
from training.output import write_json

STEPS = 8
"""Of one call of the accelerator."""

WARM_UP = 0.05
"""Share of the time."""

REPORT_S = 20.0
"""Between two lines of figures."""


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
    """``(frames (b, h, w, 3) uint8, targets, weights)`` -> the loss of a batch, views and teachers included."""

    def __init__(
        self, network: keras.Model, config: Config, frame: tuple[int, int], teachers: Sequence[keras.Model]
    ) -> None:
        super().__init__()
        self.network, self.teachers = network, list(teachers)
        for teacher in self.teachers:
            teacher.trainable = False
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
        frames, targets, weights = inputs
        squares = self._views.square(ops.cast(frames, "float32"))
        if self.teachers:
            targets = self._taught(targets, self._views.fit(squares))
        shown, targets, weights = self._mixing(self._views.fit(squares), targets, weights)
        answers = self.network(shown, training=training)
        return sum(
            loss_weight(name, self._config)
            * ops.mean(weights[name] * self._loss(name, targets[name], ops.cast(answers[name], "float32")))
            for name in answers
        )

    def _taught(self, targets: dict[str, Any], shown: Any) -> dict[str, Any]:
        """Targets of every end, mixed with what the teachers answer."""
        share, answers = self._config.teacher_share, [teacher(shown, training=False) for teacher in self.teachers]
        mixed = {}
        for name, y in targets.items():
            end = name.removeprefix("cut_")
            squash = ops.sigmoid if end == "malignant" else ops.softmax
            probability = sum(squash(ops.cast(answer[end], "float32")) for answer in answers) / len(answers)
            mixed[name] = (1 - share) * y + share * jax.lax.stop_gradient(probability)
        return mixed

    def _loss(self, name: str, target: Any, logits: Any) -> Any:
        smooth = {"from_logits": True, "label_smoothing": self._config.label_smoothing}
        if "malignant" in name:
            return keras.losses.binary_crossentropy(target, logits, **smooth)
        return keras.losses.categorical_crossentropy(target, logits, **smooth)


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
        ends = objective.network.output
        labels = [{name: group[name] for name in ends} for group in targets_and_weights(photos, config)]
        self._data = jax.device_put((photos.pixels, *labels))
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
        photos, targets, weights = photos_and_labels

        def one(carry: Any, chosen: Any) -> Any:
            trained, others, optimizer, mean = carry
            batch = jax.tree.map(lambda values: values[chosen], (photos, targets, weights))
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


def rows_of(photos: PackedPhotos, config: Config, held: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """``(STEPS, batch)`` photo numbers without end, epoch after epoch, none of them `held`."""
    free = np.flatnonzero(~held)
    repeats = np.where(photos.is_phone[free], config.phone_repeat, 1)
    left: NDArray[np.int64] = np.empty(0, np.int64)
    size, epoch = STEPS * config.batch, 0
    while True:
        while len(left) < size:
            left = np.concatenate([left, free[epoch_order(photos.malignant[free], config, epoch, repeats)]])
            epoch += 1
        yield left[:size].reshape(STEPS, config.batch)
        left = left[size:]


def train(
    config: Config,
    photos: dict[str, PackedPhotos],
    out: Path,
    clock: TrainingClock,
    *,
    starts: Sequence[Path] = (),
    weights: Path | None = None,
    teachers: Sequence[tuple[str, Path]] = (),
    precision: str = "mixed_bfloat16",
) -> dict[str, Any]:
    """Train until the clock has run out; write ``model.npz``, ``answers.npz`` and ``run.json`` into `out`.

    Args:
        config: a configuration of `training.network.config`; epochs and schedule are the clock's.
        photos: ``train`` and ``val``.
        out: folder of the run.
        clock: started already.
        starts: weights of such networks, to go on from their mean.
        weights: ImageNet weights of the backbone, where nothing else is given.
        teachers: backbones and weights.
        precision: a Keras dtype policy.

    Raises:
        ConfigError: the photos have another size, or weights are those of another network.
    """
    shown = photos["train"]
    if shown.pixels.shape[1] != config.side:
        raise ConfigError(
            f"the photos are {shown.pixels.shape[1]} pixels high, not {config.side}", hint="pack them again"
        )
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_dtype_policy(precision)
    with drawn_by_numpy(config.seed):
        network = build_model(config, weights)
    if starts:
        network.set_weights(_mean_weights(network, starts))
    guides = [_teacher(backbone, path, config.side) for backbone, path in teachers]
    trainer = Trainer(Objective(network, config, shown.pixels.shape[1:3], guides), config, shown)
    held = np.isin(shown.source, config.hold_out.split(","))
    measured = photos["val"].joined(shown.only(held))
    squares, answers = measured.squares(), answering(network)
    print(f"before: {_line(measured, answers(squares))}", flush=True)
    setup_s, running = time.monotonic() - clock.start_s, clock.left()
    steps = trainer.run(
        *(rows_of(shown, config, held), config.learning_rate, running),
        lambda: print(_line(measured, answers(squares)), flush=True),
    )
    logits = answers(squares)
    out.mkdir(parents=True, exist_ok=True)
    save_weights_npz(network, out / "network.npz")
    np.savez(out / "answers.npz", logits=logits, source=measured.source, malignant=measured.malignant)
    result = {
        "config": config.to_json(),
        "steps": steps,
        "epochs": steps * config.batch / int((~held).sum()),
        "seconds": clock.seconds,
        "setup_s": setup_s,
        "device": str(jax.devices()[0].device_kind),
        "precision": precision,
        **validation.figures(measured, logits),
    }
    write_json(out / "run.json", result)
    return result


def _teacher(backbone: str, path: Path, side: int) -> keras.Model:
    with drawn_by_numpy(1):
        network = build_model(Config(backbone, side=side, outputs="auxiliary", batch_norm="frozen"))
    load_weights_npz(network, path)
    return network


def _mean_weights(network: keras.Model, starts: Sequence[Path]) -> list[NDArray[np.float32]]:
    found = []
    for start in starts:
        load_weights_npz(network, start)
        found.append(network.get_weights())
    return [np.mean(same, axis=0) for same in zip(*found, strict=True)]


def _line(photos: PackedPhotos, logits: NDArray[np.float32]) -> str:
    return " ".join(f"{k.removeprefix('val_')} {v:.4f}" for k, v in validation.figures(photos, logits).items())


def main() -> None:
    """Command line."""
    start_s = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="what training.data.pack wrote")
    parser.add_argument("--config", default="collection", help=f"one of {', '.join(CONFIGS)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of the backbone")
    parser.add_argument("--start", type=Path, action="append", default=[], metavar="NPZ", help="several: their mean")
    parser.add_argument("--teacher", action="append", default=[], metavar="BACKBONE:NPZ")
    parser.add_argument("--seconds", type=float, required=True, help="from the command's start, all in all")
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    teachers = [(backbone, Path(path)) for backbone, _, path in (given.partition(":") for given in args.teacher)]
    result = train(
        named(args.config, args.set),
        {split: PackedPhotos.load(args.photos, split) for split in ("train", "val")},
        args.out,
        TrainingClock(start_s, args.seconds),
        starts=args.start,
        weights=args.weights,
        teachers=teachers,
        precision=args.precision,
    )
    print(figures_json({k: v for k, v in result.items() if k != "config"}))


if __name__ == "__main__":
    command.run(main)
