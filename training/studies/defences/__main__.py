r"""Published defences and `guarded` at one cut, under the same attacks, on the same photos: one table.

    python -m training.studies.defences --data ../shared/data/ham10000 --run build/defences [--network NET.npz]
    python -m training.studies.defences --quick --run build/defences-quick

Every defence has the same encoder, noise and steps. First it learns with noise alone; then the strength of its term
rises while the answer does not suffer by more than ``--margin`` (`training.release.guarded.controller`), so that all
may cost the same. Its answer is read by a probe, or with ``--tail-steps`` by the rest of the network. Then fresh
attackers learn on training photos and are tried on validation photos (`training.release.guarded.exposure`).

A run that was interrupted resumes where it last wrote a checkpoint; what is finished is not done again. A defence whose
training diverges is noted as that, and the study goes on. Into RUN go
``defences.json`` with every figure and ``defences.md``, the table. ``--quick`` draws lesions and takes
seconds; it shows that the command works and nothing else.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import keras

from securesplit.atomic import write_text_atomic
from securesplit.errors import ConfigError
from training import command
from training.data.dataset import Dataset
from training.network.validation import DivergedError
from training.output import write_json
from training.release.guarded import __main__ as guarded
from training.release.guarded.stages import network_of, views_of
from training.studies.defences import drawn
from training.studies.defences.measure import Setting, measured
from training.studies.defences.registry import DEFENCES
from training.studies.defences.table import markdown

SCHEMA = "securesplit.defences/1"
FILE = "defences.json"
METHODS = 2
"""Raised with every change of an attack or an interval, so that no table holds figures of two kinds."""
QUICK = {
    "cut": drawn.CUT, "press_steps": 8, "learn": 4, "rise": 4, "attack_epochs": 1, "batch": 16, "views": "none",
    "n_views": 0, "tail_steps": 0,
}  # fmt: skip
ELSEWHERE = ("run", "cache", "data", "network", "defences", "seeds", "seed")
"""Options that a continued run may change, or whose content is compared: photos by digest, the network by its AUC."""


def main() -> None:
    """Command line."""
    args = arguments().parse_args()
    if args.quick:
        vars(args).update(QUICK)
    args.run.mkdir(parents=True, exist_ok=True)
    args.cache = args.cache or args.run
    keras.utils.set_random_seed(1)
    setting = drawn_setting(args) if args.quick else real_setting(args, Dataset.read(args.data, args.cache))
    content = study(setting, args)
    print(markdown(content, DEFENCES))


def study(setting: Setting, args: argparse.Namespace) -> dict[str, Any]:
    """Measure what is not measured yet; return the content of ``defences.json``.

    Raises:
        ConfigError: the folder holds a study of other settings, photos or attacks, or of another network.
    """
    content = started(setting, args)
    for seed in range(1, args.seeds + 1):
        for defence in (d for d in DEFENCES if d.name in args.defences):
            runs = content["runs"].setdefault(defence.name, {})
            if str(seed) in runs:
                continue
            keras.utils.set_random_seed(seed)
            run = args.run / f"{defence.name}-{seed}"
            run.mkdir(exist_ok=True)
            own = argparse.Namespace(**{**vars(args), "run": run, "seed": seed})
            try:
                runs[str(seed)] = measured(defence, setting, own)
            except DivergedError as error:
                runs[str(seed)] = None
                print(f"{defence.name}, seed {seed}: {error.message}", flush=True)
            write_json(args.run / FILE, content)
            write_text_atomic(args.run / "defences.md", markdown(content, DEFENCES))
    return content


def started(setting: Setting, args: argparse.Namespace) -> dict[str, Any]:
    """What an earlier call left, or the beginning."""
    known = min(args.attack_photos, len(setting.splits["train"].photos))
    photos = {"attackers": known, "victims": len(setting.val.labels), "sha256": setting.digest}
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "methods": METHODS,
        "settings": {name: value for name, value in vars(args).items() if name not in ELSEWHERE},
        "photos": photos,
        "undefended_auc": round(setting.undefended_auc, 5),
        "runs": {},
    }
    file = args.run / FILE
    if not file.is_file():
        return content
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if {**stored, "runs": {}} != json.loads(json.dumps(content, allow_nan=False)):
        raise ConfigError(f"{args.run} holds a study of other settings, photos or attacks", hint="give another --run")
    return stored


def real_setting(args: argparse.Namespace, data: Dataset) -> Setting:
    """The photos of ``--data`` and the network of ``--network``."""
    network = network_of(args)
    data.check_disjoint()
    splits = {name: data.split(name, int(network.inputs[0].shape[1])) for name in ("train", "val")}
    train, val = (views_of(network, splits[name], args, views) for name, views in (("train", args.n_views), ("val", 0)))
    return Setting(network, train, val, splits)


def drawn_setting(args: argparse.Namespace) -> Setting:
    """Drawn lesions."""
    splits = drawn.splits()
    network = drawn.network(splits["train"])
    train, val = (views_of(network, splits[name], args, 0) for name in ("train", "val"))
    return Setting(network, train, val, splits)


def arguments() -> argparse.ArgumentParser:
    """The command line: that of `training.release.guarded`, and what only the study has."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[guarded.arguments()],
        conflict_handler="resolve",
    )
    names = [defence.name for defence in DEFENCES]
    parser.add_argument("--defences", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", type=command.whole(1), default=1, help="runs of each defence, seeded from 1")
    parser.add_argument(
        "--attack-photos", type=command.whole(1), default=7000, help="training photos that attackers hold, at most"
    )
    parser.add_argument("--quick", action="store_true", help="draw lesions; takes seconds and measures nothing real")
    parser.set_defaults(tail_steps=0)
    return parser


if __name__ == "__main__":
    command.run(main)
