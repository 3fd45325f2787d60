r"""Train `guarded` within a number of seconds on one accelerator (JAX).

    python -m training.data.pack --data ../shared/data --framing lesion --out build/photos.npz
    KERAS_BACKEND=jax python -m training.release.guarded.accelerated --photos build/photos.npz --network NET.npz \
        --seconds 500 --run build/guarded
    python -m training.release.guarded --data ../shared/data --network NET.npz --run build/attacked \
        --start build/guarded/guarded.npz --blocks 3 --press-steps 0 --tail-steps 0

On a CPU, cached maps are learned by heart within a thousand steps (ADR 116). Here the photos lie in the accelerator's
memory and no view is shown twice: the undefended network's head and answer are computed for each
(`training.release.guarded.compiled`). Encoder, decoder and the worker's network learn together from the first step, at
first with noise alone; after ``--learn`` of the time the strength of what the adversaries win rises. A target is the
undefended answer to that very view. The last line is the attack, which needs no accelerator, but the same options
for the sizes of the networks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from securesplit.text import figures_json
from training import command
from training.data.dataset import at_random
from training.data.pack import PackedPhotos
from training.network.compiled import REPORT_S, STEPS, TrainingClock
from training.network.model import shipped_network
from training.network.quick_weights import drawn_by_numpy
from training.network.validation import check_finite
from training.network.weights_npz import load_weights_npz
from training.output import write_json
from training.release.cut_maps import thumbs_of
from training.release.guarded import attack, weights
from training.release.guarded.attack import Holdings
from training.release.guarded.compiled import Game, Players, Undefended
from training.release.guarded.options import add_sizes

KNOWN = 3000
"""Training photos of which the attacker of a line holds the releases."""


def train(photos: dict[str, PackedPhotos], args: argparse.Namespace, start_s: float) -> dict[str, Any]:
    """Train until the time has run out; write ``guarded.npz`` and ``accelerated.json`` into the run's folder.

    The weights are written with every line of figures, so that a run that is cut short leaves something.

    Args:
        photos: ``train`` and ``val``.
        args: of `arguments`.
        start_s: when the command started, on the monotonic clock.

    Raises:
        ConfigError: the photos have another size or framing than the network takes, or weights are those of another.
        DivergedError: the networks answer numbers that are not finite.
    """
    game = begun(photos["train"], args)
    clock = TrainingClock(start_s, args.seconds).left()
    steps, said_s, figures = 0, time.monotonic(), {}
    for rows in drawn(photos["train"].malignant, args):
        strength = args.most * min(1.0, max(0.0, (clock.share() - args.learn) / args.rise))
        figures = {"strength": strength, **game.run(rows, clock.rate(args.learning_rate), strength)}
        steps += STEPS
        if clock.share() == 1:
            break
        if time.monotonic() - said_s > REPORT_S:
            line = {"share": clock.share(), "step": steps, **figures, **measured(game, photos, args)}
            print(*(f"{name} {value:.4g}" for name, value in line.items()), flush=True)
            weights.save(game.players.defending, args.run / "guarded.npz")
            said_s = time.monotonic()
    result = {"steps": steps, **figures, **measured(game, photos, args)}
    weights.save(game.players.defending, args.run / "guarded.npz")
    settings = {name: str(value) for name, value in vars(args).items()}
    write_json(args.run / "accelerated.json", {"settings": settings, **result})
    return result


def begun(photos: PackedPhotos, args: argparse.Namespace) -> Game:
    """A game of which no step is done, compiled.

    Raises:
        ConfigError: see `train`.
    """
    photos.check_seen(args.side, args.framing)
    keras.utils.set_random_seed(args.seed)
    keras.mixed_precision.set_dtype_policy(args.precision)
    with drawn_by_numpy(args.seed):
        network = shipped_network(args.backbone, args.side)
        players = Players.of(network, args)
    load_weights_npz(network, args.network)
    undefended = Undefended(network, args.cut)
    if args.start:
        weights.load(players.defending, args.start)
    return Game(undefended, players, photos, args)


def drawn(malignant: NDArray[np.float32], args: argparse.Namespace) -> Iterator[NDArray[np.int64]]:
    """``(STEPS, batch / 2)`` photo numbers without end, malignant ones twice as often."""
    rng, pool = np.random.default_rng(args.seed), np.r_[np.arange(len(malignant)), np.flatnonzero(malignant)]
    while True:
        yield np.stack([rng.choice(pool, args.batch // 2, replace=False) for _ in range(STEPS)])


def measured(game: Game, photos: dict[str, PackedPhotos], args: argparse.Namespace) -> dict[str, float]:
    """On validation photos: AUC of answer and probe with noise, and what a ridge inverse rebuilds."""
    game.average()
    own = holdings(game, photos["train"].only(at_random(len(photos["train"].malignant), KNOWN)))
    victims = holdings(game, photos["val"])
    sent = attack.grid_noise(victims.releases, args.sigma, 0)
    answers = game.answers(sent)
    check_finite(answers, hint="begin a new --run with a smaller --learning-rate or --most")
    answer, probe = (roc_auc_score(victims.labels, scores) for scores in answers)
    return {"auc": answer, "probe": probe, "ridge": attack.ridge_skill(own, victims, args.sigma, args.seed)}


def holdings(game: Game, photos: PackedPhotos) -> Holdings:
    """Releases without noise, and what they are of."""
    squares: NDArray[np.float32] = photos.squares().astype(np.float32)
    return Holdings(game.releases(squares), thumbs_of(squares), photos.malignant.astype(np.int32))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="what training.data.pack wrote")
    parser.add_argument("--network", type=Path, required=True, help="archive of the undefended weights")
    parser.add_argument("--run", type=Path, required=True, help="folder for weights and figures")
    parser.add_argument("--start", type=Path, help="guarded.npz of an earlier run, to go on from")
    parser.add_argument("--seconds", type=command.positive, required=True, help="from the command's start, all in all")
    add_sizes(parser)
    parser.add_argument(
        "--side", type=command.whole(1), default=150, help="height of a photo in pixels, which the network takes"
    )
    parser.add_argument("--learn", type=command.share, default=0.4, help="share of the time with noise alone")
    parser.add_argument(
        "--rise", type=command.positive, default=0.1, help="share of the time in which the terms come in"
    )
    parser.add_argument("--most", type=command.not_negative, default=1.0, help="strength of the terms at the end")
    parser.add_argument(
        "--learning-rate", type=command.positive, default=1e-3, help="its peak; a tenth of it for the tail"
    )
    parser.add_argument("--batch", type=command.whole(2), default=128, help="views a step, two of each photo")
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.set_defaults(allowed=0.06, linking=0.1, teacher_share=1.0, blocks=3)
    return parser


def main() -> None:
    """Command line."""
    start_s = time.monotonic()
    args = arguments().parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    photos = {split: PackedPhotos.load(args.photos, split) for split in ("train", "val")}
    print(figures_json(train(photos, args, start_s)))


if __name__ == "__main__":
    command.run(main)
