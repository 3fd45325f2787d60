"""Train the preset `guarded` on photos' cut maps, with the head as it is, and attack it at the end.

    python -m training.release.guarded --data ../shared/data/ham10000 --run build/guarded [--network NET.npz]

Two CPU cores are enough. The head's maps are computed once (`training.release.cut_maps`); then an encoder learns to
keep the diagnosis against adversaries (`training.release.guarded.press`) under a controller
(`training.release.guarded.controller`), then decoder and the worker's network learn to read its release
(`training.release.guarded.tail`), then with ``--joint-steps`` all of them together (`training.release.guarded.joint`).
A run that was interrupted resumes where it last wrote a checkpoint, with the same settings and photos. Into RUN go
``guarded.npz``, the float16 weights as ``PART.NUMBER``, and ``guarded.json`` with every figure.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training import command
from training.data.dataset import Dataset
from training.network.train import digest_of
from training.release.guarded.checkpoint import JOINT, TAIL, begin
from training.release.guarded.options import add_sizes
from training.release.guarded.stages import network_of, say, trained, views_of

ELSEWHERE = ("run", "cache", "data", "network", "start", "attack_epochs")
"""Options that a resumed run may change, or whose content is compared."""
LATER = {"tail_steps": TAIL, "joint_steps": JOINT, "blends": JOINT}
"""Options of the later stages."""


def main() -> None:
    """Command line."""
    args = arguments().parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    args.cache = args.cache or args.run
    keras.utils.set_random_seed(args.seed)
    network = network_of(args)
    data = Dataset.read(args.data, args.cache).framed(args.framing)
    data.check_disjoint()
    data.check_classes(("train",))
    begin(args.run, made_from(args, data, network), later=LATER)
    splits = {name: data.split(name, int(network.inputs[0].shape[1])) for name in ("train", "val")}
    train, val = (views_of(network, splits[name], args, views) for name, views in (("train", args.n_views), ("val", 0)))
    report = trained(network, train, val, splits, args)
    say({"auc": report["auc"], "attacked": report["attacked"]})


def made_from(args: argparse.Namespace, data: Dataset, network: keras.Model) -> dict[str, Any]:
    """What a run must go on with: its settings, photos, the undefended network, and the weights it starts from.

    Raises:
        ConfigError: there are no weights to start from.
    """
    settings = {name: value for name, value in vars(args).items() if name not in ELSEWHERE}
    undefended = hashlib.sha256()
    for weight in network.get_weights():
        undefended.update(np.ascontiguousarray(weight).tobytes())
    return {
        **settings,
        "photos": data.contents,
        "network": undefended.hexdigest(),
        "start": digest_of(args.start) if args.start else None,
    }


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--network", type=Path, help="archive of the undefended weights (default: the bundle's)")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints, weights and figures")
    parser.add_argument("--cache", type=Path, help="folder for photos and maps (default: that of the run)")
    parser.add_argument("--start", type=Path, help="guarded.npz of an earlier run, to go on from")
    add_sizes(parser)
    parser.add_argument("--learn", type=command.whole(1), default=400, help="steps with noise alone")
    parser.add_argument("--margin", type=command.positive, default=0.02, help="nats of the task that privacy may cost")
    parser.add_argument(
        "--most", type=command.not_negative, default=2.0, help="greatest strength of all terms but the task"
    )
    parser.add_argument(
        "--rise", type=command.whole(1), default=400, help="steps to that strength where the task does not suffer"
    )
    parser.add_argument("--press-steps", type=command.whole(0), default=1500)
    parser.add_argument("--tail-steps", type=command.whole(0), default=400)
    parser.add_argument("--joint-steps", type=command.whole(0), default=0, help="of all of them together, at the end")
    parser.add_argument("--blends", action="store_true", help="in the last stage, learn from blended maps too")
    parser.add_argument("--attack-epochs", type=command.whole(1), default=6)
    parser.add_argument("--batch", type=command.whole(2), default=64, help="views a step")
    parser.add_argument("--n-views", type=command.whole(0), default=1, help="random views of each training photo")
    return parser


if __name__ == "__main__":
    command.run(main)
