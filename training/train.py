r"""Train any of the backbones by a named configuration, in one command.

    python -m training.train --config student --data ../photos --run build/student
    python -m training.train --set freeze=block3b_add --start build/warm/best.weights.h5 --run build/continued
    python -m training.train --config inception --set side=96 --set epochs=4 --run build/inception --bundle build/bundle

``--data`` is a folder in any layout of `training.data.dataset`. The command uses every device that it finds and, told
by ``TF_CONFIG``, several machines; it may be killed at any moment, and the same command resumes. In the run folder:
``run.json`` (seed, data, versions, machine, result), ``best.weights.h5`` with its figures in ``best.weights.json``,
``history.csv`` and ``tensorboard/``. ``--bundle`` splits the best network into a measured bundle.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from securesplit.errors import ConfigError
from securesplit.text import figures_json
from training import command
from training.bundle import from_run
from training.data.dataset import Dataset
from training.network.arguments import common_arguments
from training.network.config import named
from training.network.train import train


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = common_arguments(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        metavar="BUNDLE",
        help="to learn from (default: the one in the package); given again: from their mean answer",
    )
    parser.add_argument("--bundle", type=Path, help="split the best network into this folder")
    parser.add_argument("--at", help="layer to split at (default: the backbone's)")
    parser.add_argument("--licence", help="of the weights, for the bundle (default: not stated)")
    return parser


def main() -> None:
    """Train, and split where a bundle is wanted.

    Raises:
        ConfigError: what is of a bundle was given without one.
    """
    args = arguments().parse_args()
    if args.bundle is None and (args.at is not None or args.licence is not None):
        hint = "name its folder with --bundle, or leave them out"
        raise ConfigError("--at and --licence are of a bundle, and --bundle names none", hint=hint)
    licence = args.licence or "not stated"
    config = named(args.config, args.set)
    data = Dataset.read(args.data, args.run.parent / "pixels")
    bar = 1 if sys.stdout.isatty() else 2
    extra = []
    if args.bundle is not None:
        extra.append(from_run.CheckedCut(from_run.check(config, data, args.bundle, at=args.at, licence=licence)))
    best = train(
        *(config, data, args.run),
        weights=args.weights,
        start=args.start,
        teachers=args.teacher,
        precision=args.precision,
        extra=extra,
        verbose=bar,
    )
    print(f"{args.run}: best epoch {figures_json(best)}")
    if args.bundle is not None and best:
        from_run.make_bundle(args.run, data, args.bundle, at=args.at, licence=licence)


if __name__ == "__main__":
    command.run(main)
