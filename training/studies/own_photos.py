r"""How right would a network be on a source if it had learned from photos of that very source?

    python -m training.studies.own_photos --data ../shared/data --start RUN/best.weights.h5 --teacher BUNDLE \
        --without RUN --without RUN --out build/own-photos

Nothing that is done for sources which a network never saw can be expected to do more for them than their own photos
would. So each of ``--folds`` trainings learns from all photos but one fold of those sources, and the table has the AUC
on the photos of the fold, over all folds. Beside it stands what those photos bring: the difference to the runs that
``--without`` names, on the same photos. What these held out, phone photos aside, are the sources in question.

Trainings are runs of `training.train` in ``OUT/fold-0`` and so on, so a study that was killed goes on.
``OUT/own_photos.json`` and ``.md`` have the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from securesplit.atomic import write_text_atomic
from securesplit.errors import ConfigError
from securesplit.text import markdown_table
from training import command
from training.data.collection import fold_of
from training.data.dataset import Dataset
from training.data.photo import Photo, without_fold
from training.evaluation.sources import scorer_of_run
from training.network.arguments import common_arguments
from training.network.config import Config, named
from training.network.run_record import config_of
from training.network.train import train
from training.output import write_json
from training.studies import paired

SCHEMA = "securesplit.own_photos/1"
SETTINGS = (
    *("taught_sources=ham10000", "teacher_share=0.8", "learning_rate=7e-5", "epochs=6", "freeze=block3b_add"),
    *("source_balance=0.4", "phone_repeat=3", "ema=0.995", "monitor=last"),
)
"""Beside those of the configuration ``collection``: of the networks that ship (ADR 167)."""


def study(
    config: Config, data: Dataset, out: Path, *, folds: int, without: Sequence[Path], **learned_from: Any
) -> dict[str, Any]:
    """Train what is not trained yet; return the content of ``own_photos.json``.

    Args:
        config: of every training, its ``hold_out`` aside.
        data: a collection of data sets.
        out: folder of the study.
        folds: into how many the photos of each source are parted.
        without: runs that held whole sources out.
        learned_from: ``start``, ``teachers`` and ``precision``, as `training.network.train.train` takes them.

    Raises:
        ConfigError: a folder holds another run or none, or no run of `without` held a whole source out.
        DataError: see `training.network.train.arranged`.
    """
    held_out_by = _held_out_by(without)
    photos = {k: _in_fold(data, held_out_by, k, folds) for k in range(folds)}
    for k in range(folds):
        held = [_part(source, k) for source in held_out_by if source in {photo.source for photo in photos[k]}]
        own = replace(config, hold_out=",".join(held))
        train(own, _parted(data, photos[k], k), out / f"fold-{k}", **learned_from)
    content = {
        "schema": SCHEMA,
        "config": config.to_json(),
        "folds": folds,
        "sources": {source: _measured(source, data, out, photos, run) for source, run in held_out_by.items()},
    }
    write_json(out / "own_photos.json", content)
    write_text_atomic(out / "own_photos.md", markdown(content) + "\n")
    return content


def _held_out_by(runs: Sequence[Path]) -> dict[str, Path]:
    """Sources that were held out whole -> the run that did."""
    found = {source: run for run in runs for source in config_of(run).held_out if without_fold(source) == source}
    if not found:
        raise ConfigError("no run of --without held a whole source out", hint="train one: --set hold_out=SOURCE")
    return found


def _in_fold(data: Dataset, sources: Mapping[str, Any], k: int, folds: int) -> list[Photo]:
    """The photos of `sources` in fold `k`; those of one lesion are in one fold."""
    return [p for p in data.photos["train"] if p.source in sources and fold_of(p.lesion, folds) == k]


def _part(source: str, k: int) -> str:
    return f"{source}/{k}"


def _parted(data: Dataset, part: Sequence[Photo], k: int) -> Dataset:
    """The same photos, those of `part` as a source of their own, which a training can hold out."""
    held = {photo.path for photo in part}
    learned = [replace(p, source=_part(p.source, k)) if p.path in held else p for p in data.photos["train"]]
    return replace(data, photos={**data.photos, "train": learned})


def _measured(
    source: str, data: Dataset, out: Path, photos: Mapping[int, Sequence[Photo]], without: Path
) -> dict[str, Any]:
    shown = [photo for of_fold in photos.values() for photo in of_fold if photo.source == source]
    counts = {"photos": len(shown), "malignant": sum(photo.malignant for photo in shown)}
    return {**counts, **paired.compared(list(_pairs(source, data, out, photos, without)))}


def _pairs(
    source: str, data: Dataset, out: Path, photos: Mapping[int, Sequence[Photo]], without: Path
) -> Iterator[paired.Pair]:
    """A fold's photos of a source, with the logits of the network that learned the others and of one that did not."""
    for k, of_fold in photos.items():
        shown, logits = [photo for photo in of_fold if photo.source == source], []
        if not shown:
            continue
        for run in (out / f"fold-{k}", without):
            config = config_of(run)
            split = data.framed(config.framing).decoded(shown, config.side)
            logits.append(scorer_of_run(run, config)(split))
        yield paired.of_source(source, shown, logits[0], logits[1])


def markdown(content: Mapping[str, Any]) -> str:
    """A row a source."""
    rows = [
        [
            source,
            f["photos"],
            f["malignant"],
            f["auc"],
            f"{f['auc'].value - f['gain'].value:.3f}",
            paired.signed(f["gain"]),
        ]
        for source, f in content["sources"].items()
    ]
    columns = ["source", "photos", "malignant", "AUC, learned from its other photos", "from none of it", "difference"]
    return markdown_table(columns, rows)


def main() -> None:
    """Command line."""
    parser = common_arguments(__doc__)
    parser.set_defaults(config="collection", data=Path("../shared/data"))
    parser.add_argument("--teacher", action="append", type=Path, required=True, help="a bundle; several teach together")
    parser.add_argument("--without", action="append", type=Path, required=True, help="a run that held sources out")
    parser.add_argument("--folds", type=command.whole(2), default=3)
    parser.add_argument("--out", type=Path, default=Path("build/own-photos"))
    args: Mapping[str, Any] = vars(parser.parse_args())
    content = study(
        *(named(args["config"], [*SETTINGS, *args["set"]]), Dataset.read(args["data"], args["out"] / "pixels")),
        args["out"],
        folds=args["folds"],
        without=args["without"],
        weights=args["weights"],
        start=args["start"],
        teachers=args["teacher"],
        precision=args["precision"],
    )
    print(markdown(content))


if __name__ == "__main__":
    command.run(main)
