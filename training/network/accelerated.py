r"""Train a network within a number of seconds on one accelerator: the photos lie in its memory, every step is compiled.

    python -m training.data.pack --data ../shared/data --out build/photos.npz
    KERAS_BACKEND=jax python -m training.network.accelerated --photos build/photos.npz --seconds 200 \
        --config collection --start build/first/network.npz --out build/run \
        --teacher efficientnetv2b0:build/teacher/network.npz --set teacher_share=0.7

`training.train` is the command for any machine; this one is for a short loan of a fast one. It takes the same
configurations, but the rate of learning follows the share of the time that has passed, so that a run ends in time
however fast the accelerator is; what it did (steps, epochs, seconds) is written beside the weights. A teacher's
probability is asked for the very view that the student sees (Beyer et al., Knowledge distillation: A good teacher is
patient and consistent, CVPR 2022), and with ``--hint`` its features, too; several starts are averaged (Wortsman et al.,
Model soups, ICML 2022).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.errors import ConfigError
from securesplit.text import figures_json
from training import command
from training.data.pack import PackedPhotos
from training.network import validation
from training.network.batches import epoch_order
from training.network.compiled import STEPS, Objective, Trainer, TrainingClock, answering
from training.network.config import CONFIGS, Config, named
from training.network.devices import PRECISIONS
from training.network.model import build_model
from training.network.quick_weights import drawn_by_numpy
from training.network.weights_npz import Weights, load_weights_npz, mean_of, save_weights_npz
from training.output import write_arrays, write_json


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
    hint: float = 0.0,
    precision: str = "mixed_bfloat16",
) -> dict[str, Any]:
    """Train until the clock has run out; write ``network.npz``, ``answers.npz`` and ``run.json`` into `out`.

    Args:
        config: a configuration of `training.network.config`; epochs and schedule are the clock's.
        photos: ``train`` and ``val``.
        out: folder of the run.
        clock: started already.
        starts: weights of such networks, to continue from their mean.
        weights: ImageNet weights of the backbone, where nothing else is given.
        teachers: backbones and weights.
        hint: see `training.network.compiled.Objective`.
        precision: a Keras dtype policy.

    Raises:
        ConfigError: the photos have another size or framing, weights are those of another network, there is a hint and
            no teacher to give it, or no photos of both classes are left by what is held out.
    """
    shown = photos["train"]
    shown.check_seen(config.side, config.framing)
    if hint and not teachers:
        raise ConfigError("a hint needs a teacher", hint="name one with --teacher BACKBONE:NPZ")
    if hint < 0:
        raise ConfigError(f"the hint weighs {hint}", hint="give a positive weight, or leave it out")
    held = _held(shown, config)
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_dtype_policy(precision)
    network = _network(config, weights, starts)
    guides = [_teacher(backbone, path, config.side) for backbone, path in teachers]
    trainer = Trainer(Objective(network, config, shown.pixels.shape[1:3], guides, hint), config, shown)
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
    given = {"logits": logits, "source": measured.source, "malignant": measured.malignant}
    write_arrays(out / "answers.npz", given)
    result = {
        "config": config.to_json(),
        "steps": steps,
        "epochs": steps * config.batch / int((~held).sum()),
        "seconds": clock.seconds,
        "setup_s": setup_s,
        "device": str(jax.devices()[0].device_kind),
        "precision": precision,
        "hint": hint,
        **validation.figures(measured, logits),
    }
    write_json(out / "run.json", result)
    return result


def _held(photos: PackedPhotos, config: Config) -> NDArray[np.bool_]:
    """Which photos are of sources that `config` holds out, ``(n,)``.

    Raises:
        ConfigError: none is of one of them, or those that are left are all of one class.
    """
    if missing := {*config.held_out} - {*photos.source}:
        raise ConfigError(
            f"no training photo is of {', '.join(sorted(missing))}",
            hint=f"sources: {', '.join(sorted({*photos.source}))}",
        )
    held = np.array([source in config.held_out for source in photos.source], bool)
    if len(np.unique(photos.malignant[~held])) < 2:
        raise ConfigError("what is not held out is all of one class", hint="hold less out")
    return held


def _network(config: Config, weights: Path | None, starts: Sequence[Path]) -> keras.Model:
    with drawn_by_numpy(config.seed):
        network = build_model(config, weights)
    if starts:
        network.set_weights(_mean_weights(network, starts))
    return network


def _teacher(backbone: str, path: Path, side: int) -> keras.Model:
    with drawn_by_numpy(1):
        network = build_model(Config(backbone, side=side, outputs="auxiliary", batch_norm="frozen"))
    load_weights_npz(network, path)
    return network


def _mean_weights(network: keras.Model, starts: Sequence[Path]) -> Weights:
    found = []
    for start in starts:
        load_weights_npz(network, start)
        found.append(network.get_weights())
    return mean_of(found)


def _line(photos: PackedPhotos, logits: NDArray[np.float32]) -> str:
    return " ".join(f"{k.removeprefix('val_')} {v:.4f}" for k, v in validation.figures(photos, logits).items())


def _named_teacher(given: str) -> tuple[str, Path]:
    backbone, _, path = given.partition(":")
    if not backbone or not path:
        raise ConfigError(f"--teacher {given!r} is not BACKBONE:NPZ", hint="for example efficientnetv2b0:build/one.npz")
    return backbone, Path(path)


def main() -> None:
    """Command line."""
    start_s = time.monotonic()
    parser = command.parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="what training.data.pack wrote")
    parser.add_argument("--config", default="collection", help=f"one of {', '.join(CONFIGS)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of the backbone")
    parser.add_argument("--start", type=Path, action="append", default=[], metavar="NPZ", help="several: their mean")
    parser.add_argument("--teacher", action="append", default=[], metavar="BACKBONE:NPZ")
    parser.add_argument(
        "--hint", type=command.not_negative, default=0.0, help="weight of the distance from the teachers' features"
    )
    parser.add_argument("--seconds", type=command.positive, required=True, help="from the command's start, all in all")
    parser.add_argument("--precision", choices=[p for p in PRECISIONS if p != "auto"], default="mixed_bfloat16")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if (backend := keras.backend.backend()) != "jax":
        raise ConfigError(
            f"this trains with JAX, and Keras runs on {backend}",
            hint="KERAS_BACKEND=jax python -m training.network.accelerated",
        )
    teachers = [_named_teacher(given) for given in args.teacher]
    result = train(
        named(args.config, args.set),
        {split: PackedPhotos.load(args.photos, split) for split in ("train", "val")},
        args.out,
        TrainingClock(start_s, args.seconds),
        starts=args.start,
        weights=args.weights,
        teachers=teachers,
        hint=args.hint,
        precision=args.precision,
    )
    print(figures_json({k: v for k, v in result.items() if k != "config"}))


if __name__ == "__main__":
    command.run(main)
