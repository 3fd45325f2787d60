r"""The mean of several networks' weights, some of the way from the network that they all began with.

    python -m training.network.mean_weights --data ../shared/data --start build/warm \
        --mean-of build/kept-1 --mean-of build/kept-2 --share 0.75 --run build/mean

Networks that were trained a little further from one and the same start, by other seeds or on other photos, lie in one
basin: their mean answers better than most of them (Wortsman et al., Model soups, ICML 2022), and a point on the way
back to the start keeps more of what it knew (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). The
start is a run or what `training.network.warm_start` made of a bundle. The result is a folder which
`training.bundle.default --reuse-stage-1` goes on from; the figures printed are of validation photos and of sources that
none of the runs has learned from.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras

from securesplit.errors import ConfigError
from training import command
from training.data.dataset import Dataset
from training.network import run_record, validation
from training.network.config import Config
from training.network.model import build_model
from training.network.train import arranged, digest_of, load_start, squares
from training.network.weights_npz import Weights, mean_of

OF_THE_NETWORK = ("backbone", "pixels", "outputs")
"""Keys of a configuration that say what weights are of."""


def weights_of(network: keras.Model, run: Path) -> Weights:
    """The best weights of `run`, which `network` then has too.

    Raises:
        ConfigError: there are none, or they are of another network.
    """
    load_start(network, run_record.best_weights(run))
    found: Weights = network.get_weights()
    return found


def on_the_way(start: Weights, end: Weights, share: float) -> Weights:
    """`share` of the way from `start` to `end`."""
    return [(1 - share) * a + share * b for a, b in zip(start, end, strict=True)]


def common_config(runs: Sequence[Path]) -> Config:
    """The configuration of the first of `runs`, holding out what all of them have held out.

    Raises:
        ConfigError: one of them is no run, or of another network than the first.
    """
    configs = [run_record.config_of(run) for run in runs]
    for key, (run, config) in itertools.product(OF_THE_NETWORK, zip(runs, configs, strict=True)):
        if (found := getattr(config, key)) != (first := getattr(configs[0], key)):
            raise ConfigError(
                f"{run} is of {key}={found}, not {first} as {runs[0]}", hint="name runs of one and the same network"
            )
    held = set.intersection(*({*config.held_out} for config in configs))
    return replace(configs[0], hold_out=",".join(sorted(held)))


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True, help="run folder of the network that all began with")
    parser.add_argument("--mean-of", type=Path, action="append", required=True, help="run folder; for each run")
    parser.add_argument("--share", type=command.share, default=0.75, help="of the way from the start to the mean")
    parser.add_argument("--run", type=Path, required=True, help="gets best.weights.h5")
    args = parser.parse_args()
    config = common_config(args.mean_of)
    network = build_model(config)
    start, *ends = (weights_of(network, run) for run in (args.start, *args.mean_of))
    network.set_weights(on_the_way(start, mean_of(ends), args.share))
    photos = arranged(config, Dataset.read(args.data, args.run.parent / "pixels")).split("val", config.side)
    logits = network.predict(squares(photos, config.side), batch_size=64, verbose=0)["malignant"][:, 0]
    figures = validation.figures(photos, logits)
    told = {
        "epoch": 0,
        **figures,
        "start": _told(args.start),
        "mean_of": [_told(run) for run in args.mean_of],
        "share": args.share,
        "config": config.to_json(),
        "command": "python -m training.network.mean_weights",
    }
    run_record.write_best(args.run, network, told)
    print(" ".join(f"{name} {value:.4f}" for name, value in figures.items()))


def _told(run: Path) -> dict[str, str]:
    """Name and weights of a run, for the record."""
    return {"run": run.name, "weights_sha256": digest_of(run_record.best_weights(run))}


if __name__ == "__main__":
    command.run(main)
