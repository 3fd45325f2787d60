r"""What keeps a network from learning a photo's source for its label? Several ways, on sources that it never saw.

    python -m training.studies.source_shortcut --data ../shared/data --start RUN/best.weights.h5 --out build/shortcut

Collections differ in cameras and in how many of their lesions are malignant, so a network can learn the one for the
other. Every way of `training.studies.source_shortcut.ways` goes on from the same weights, which should know HAM10000
alone, with each of ``--hold-out`` left out of training; layers up to the configuration's ``freeze`` are held. The table
has the AUC on the sources that were held out and on HAM10000's validation photos, and what each way brings against the
first, with a 95 % interval over lesions drawn for both at once (over patients for phone photos). It says nothing of
chance between trainings but what several ``--seeds`` say.

``OUT/source_shortcut.json`` is written after every training, so a study that was killed goes on; answers lie beside it.
A training that diverges is noted as that, and the study goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.atomic import write_text_atomic
from securesplit.errors import ConfigError
from securesplit.text import markdown_table
from training import command
from training.data.dataset import Dataset, Split, centre_square
from training.data.photo import DataError, without_fold
from training.evaluation.measured import Figure
from training.network import validation
from training.network.arguments import common_arguments
from training.network.batches import BatchSource, batches
from training.network.config import Config, named
from training.network.model import build_model, build_optimizer, freeze_until
from training.network.targets import targets_and_weights
from training.network.train import arranged, digest_of, load_start
from training.output import write_array, write_json
from training.studies import begun, paired
from training.studies.source_shortcut.ways import BASE, SOURCE, WAYS, Way

SCHEMA = "securesplit.source_shortcut/1"
FILE = "source_shortcut.json"
HOLD_OUT = ("komour,phone/0,phone/1", "isic2017,phone/2,phone/3", "isic9,phone/4")
SETTINGS = ("freeze=block3b_add", "source_balance=0.4", "phone_repeat=3", "ema=0.99", "epochs=2")
"""Instead of those of the configuration ``collection``: a short training that goes on from other weights."""
HOME = "ham10000"
"""The source that is never held out, whose colours are the reference."""
DIVERGED = "diverged"
"""What is noted, beside what it is, of a training whose network answered numbers that are not finite."""


@dataclass(frozen=True)
class Training:
    """One training of the study."""

    way: str
    hold_out: str
    seed: int

    @property
    def name(self) -> str:
        """Of its answers' file."""
        return f"{self.way}-{self.hold_out.replace('/', '').replace(',', '-')}-{self.seed}"


def study(
    config: Config, data: Dataset, start: Path, out: Path, *, hold_out: Sequence[str], seeds: int, ways: Sequence[Way]
) -> dict[str, Any]:
    """Train what is not trained yet; return the content of ``source_shortcut.json``.

    Args:
        config: of every training, its ``hold_out`` and ``seed`` aside.
        data: a collection of data sets.
        start: weights that every training goes on from.
        out: folder of the study.
        hold_out: sources that one training leaves out, joined by commas.
        seeds: trainings of each way, seeded from 1.
        ways: which.

    Raises:
        ConfigError: `config` wants fewer photos or a teacher, `out` holds a study around another configuration or
            start, or of other photos, or `start` other weights.
        DataError: no training photo is of a source to be held out, or none of HAM10000.
    """
    content = _begun(config, data, start, out)
    content["table"] = table(content, data, out)
    for seed, held, way in product(range(1, seeds + 1), hold_out, ways):
        training = Training(way.name, held, seed)
        if training.name in content["trainings"]:
            continue
        keras.backend.clear_session()
        own = replace(config, hold_out=training.hold_out, seed=training.seed, **way.settings)
        try:
            logits, figures = trained(way, own, data, start)
        except validation.DivergedError as error:
            figures = {DIVERGED: True}
            print(f"{training.name}: {error.message}", flush=True)
        else:
            write_array(out / f"{training.name}.npy", logits)
        content["trainings"][training.name] = {**vars(training), **figures}
        content["table"] |= table(content, data, out, WAYS if way is BASE else [way])
        write_json(out / FILE, content)
        write_text_atomic(out / "source_shortcut.md", markdown(content) + "\n")
    return content


def _begun(config: Config, data: Dataset, start: Path, out: Path) -> dict[str, Any]:
    if config.photos or config.teacher_share:
        raise ConfigError("the study takes all photos and no teacher", hint="leave `photos` and `teacher_share` at 0")
    around = begun.around(data, config=config.to_json(), start_sha256=digest_of(start))
    out.mkdir(parents=True, exist_ok=True)
    if not (out / FILE).is_file():
        return {"schema": SCHEMA, "around": around, "trainings": {}, "table": {}}
    content: dict[str, Any] = json.loads((out / FILE).read_text(encoding="utf-8"))
    begun.check_goes_on(out, "study", content["around"], around)
    return {**content, "around": around}


def trained(way: Way, config: Config, data: Dataset, start: Path) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Train one way; return its logits of the photos that `config` leaves to measure on, and its figures."""
    keras.utils.set_random_seed(config.seed)
    arrangement = arranged(config, data)
    shown, measured = (arrangement.split(side, config.side) for side in ("train", "val"))
    reference = _mean_colour(shown)
    shown, measured = (replace(split, pixels=way.pixels(split.pixels, reference)) for split in (shown, measured))
    network = build_model(config)
    load_start(network, start)
    freeze_until(network, config.freeze)
    targets, weights = targets_and_weights(shown, config)
    targets[SOURCE], groups = sources(shown)
    source = BatchSource(shown, targets, weights, config)
    learner = way.learner(network, config.freeze, config, groups, source.steps * config.epochs)
    learner.prepare(centre_square(shown.pixels), targets)
    learner.compile(build_optimizer(config, source.steps))
    history = learner.fit(
        batches(source, 0), epochs=config.epochs, steps_per_epoch=source.steps, shuffle=False, verbose=2
    )
    logits = learner.predict(centre_square(measured.pixels), batch_size=64, verbose=0)["malignant"][:, 0]
    last = {name: float(values[-1]) for name, values in history.history.items()}
    return logits, {**last, **validation.figures(measured, logits)}


def _mean_colour(split: Split) -> NDArray[np.float32]:
    home = centre_square(split.pixels[split.source == HOME])
    if not len(home):
        raise DataError(f"no training photo is of {HOME}", hint="training/data/collection.py says what a collection is")
    return np.asarray(home.mean((0, 1, 2)), np.float32)


def sources(split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One-hot sources ``(n, k)``, the phone photos as one, and how many are benign and malignant ``(k, 2)``."""
    names, of = np.unique([without_fold(name) for name in split.source], return_inverse=True)
    malignant = split.malignant > 0
    counts = np.stack([np.bincount(of[malignant == label], minlength=len(names)) for label in (False, True)], 1)
    return np.eye(len(names), dtype=np.float32)[of], counts


def table(
    content: Mapping[str, Any], data: Dataset, out: Path, ways: Sequence[Way] = WAYS
) -> dict[str, dict[str, dict[str, Figure]]]:
    """By way, of `ways`, and source: its AUC, and what that is more than of the first way in the same trainings."""
    begun = content["trainings"].values()
    trainings = [Training(t["way"], t["hold_out"], t["seed"]) for t in begun if DIVERGED not in t]
    photos = {held: data.holding_out(held.split(",")).photos["val"] for held in {t.hold_out for t in trainings}}
    logits = {training: np.load(out / f"{training.name}.npy") for training in trainings}
    found: dict[str, dict[str, dict[str, Figure]]] = {}
    for way in ways:
        pairs = [
            (photos[t.hold_out], logits[t], logits[base])
            for t in trainings
            if t.way == way.name and (base := replace(t, way=BASE.name)) in logits
        ]
        for source in _sources_of(pairs):
            found.setdefault(way.name, {})[source] = paired.compared(
                [paired.of_source(source, *pair) for pair in pairs]
            )
    return found


def _sources_of(pairs: Sequence[paired.Pair]) -> list[str]:
    names = {without_fold(photo.source) for photos, *_ in pairs for photo in photos}
    return sorted(names, key=lambda name: (name != HOME, name))


def markdown(content: Mapping[str, Any]) -> str:
    """A row a way, a column a source."""
    found = content["table"]
    columns = list(found.get(BASE.name, {}))
    rows = []
    for way in WAYS:
        trainings = [t for t in content["trainings"].values() if t["way"] == way.name]
        own, diverged = found.get(way.name, {}), sum(DIVERGED in t for t in trainings)
        cells = [_cell(way, own[source]) if source in own else "" for source in columns]
        count = f"{len(trainings)}, {diverged} diverged" if diverged else len(trainings)
        rows += [[f"{way.title} ({way.published})", *cells, count]] if trainings else []
    return markdown_table(["way", *columns, "trainings"], rows)


def _cell(way: Way, figures: Mapping[str, Any]) -> str:
    auc, gain = (Figure(**f) if isinstance(f, Mapping) else f for f in (figures["auc"], figures["gain"]))
    if way is BASE:
        return str(auc)
    return f"{auc.value:.3f}, {paired.signed(gain)}"


def main() -> None:
    """Command line."""
    parser = common_arguments(__doc__)
    names = [way.name for way in WAYS]
    parser.set_defaults(config="collection", data=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/shortcut"))
    parser.add_argument("--hold-out", action="append", metavar="SOURCE,...", help=f"default: {' and '.join(HOLD_OUT)}")
    parser.add_argument("--seeds", type=command.whole(1), default=1, help="trainings of each way, seeded from 1")
    parser.add_argument("--ways", nargs="+", choices=names, default=names, metavar="WAY", help=", ".join(names))
    args: Mapping[str, Any] = vars(parser.parse_args())
    if args["start"] is None:
        parser.error("--start is needed")
    content = study(
        *(named(args["config"], [*SETTINGS, *args["set"]]), Dataset.read(args["data"], args["out"] / "pixels")),
        *(args["start"], args["out"]),
        hold_out=args["hold_out"] or HOLD_OUT,
        seeds=args["seeds"],
        ways=[way for way in WAYS if way.name in args["ways"]],
    )
    print(markdown(content))


if __name__ == "__main__":
    command.run(main)
