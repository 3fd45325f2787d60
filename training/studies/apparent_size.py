r"""At which size should a lesion come to the network? AUC of every preset that is given a part of a photo.

    python -m training.studies.apparent_size --data ../shared/data/ham10000 --out build/apparent-size [--model BUNDLE]

A network that learned from random views that only ever enlarge a photo has seen lesions larger than they come to it in
use, and may answer better to photos that are enlarged as far as its views were on average (Touvron et al., *Fixing the
train-test resolution discrepancy*, NeurIPS 2019). So each photo is decoded at 1 / share of the network's side, and the
square of that side in its middle goes through the deployed halves, with the noise of each preset. With ``--around``
what is shown depends on the lesion instead: the photo's square, but no more than so many times the lesion
(`securesplit.imaging.lesion`). The last column is what this brings against the whole photo, with a 95 % interval over
lesions that are drawn for both at once (over patients for phone photos). Chosen and measured on validation photos;
``--split test`` is for what was chosen, and ``--unseen SOURCE`` takes the training photos of a source that the bundle
did not learn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from securesplit.imaging.lesion import choose_square
from securesplit.model import Bundle
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.text import markdown_table
from training import command
from training.data.dataset import Dataset, Split, centre_square, upright
from training.data.photo import DataError, Photo, read_all, without_fold
from training.evaluation import deployed
from training.evaluation.measured import Figure
from training.evaluation.metrics import bootstrap
from training.output import write_json

WHOLE = 1.0
SHARES = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
COLUMNS = ("preset", "shown", "AUC", "histopathology-confirmed", "more than of the whole photo")
Logits = Mapping[str, NDArray[np.float32]]


def middle(data: Dataset, photos: Sequence[Photo], side: int, share: float) -> Split:
    """The middle of each photo, enlarged so that it fills what the network takes.

    Args:
        data: whose cache keeps what was decoded.
        photos: of that data.
        side: of the network's input, in pixels.
        share: of the centre square's edge that is kept, above 0, at most 1.

    Returns:
        photos with pixels ``(n, side, side, 3) uint8``.
    """
    split = data.decoded(photos, round(side / share))
    squares = centre_square(split.pixels)
    start = (squares.shape[1] - side) // 2
    return Split(split.photos, squares[:, start : start + side, start : start + side])


def around(photos: Sequence[Photo], side: int, largest: float) -> Split:
    """The square of each photo that is at most so many times its lesion.

    Args:
        photos: of any size.
        side: of the network's input, in pixels.
        largest: times the lesion.

    Returns:
        photos with pixels ``(n, side, side, 3) uint8``.
    """

    def seen(path: Path) -> NDArray[np.uint8]:
        image = upright(path, side)
        box = choose_square(image, "lesion", side, largest).box
        return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box), np.uint8)

    return Split(tuple(photos), np.stack(read_all([photo.path for photo in photos], seen)))


def photos_of(data: Dataset, split: str, unseen: str | None) -> list[Photo]:
    """The counted photos of a split, or the training photos of a source.

    Raises:
        DataError: no training photo is of that source.
    """
    found = data.photos[split] if unseen is None else data.photos["train"]
    chosen = [p for p in found if not p.is_premalignant and unseen in (None, without_fold(p.source))]
    if not chosen:
        raise DataError(f"no training photo is of {unseen}", hint="the training data's summary names its sources")
    return chosen


def compared(split: Split, found: Logits, whole: Logits, draws: int) -> dict[str, dict[str, Figure]]:
    """By preset: ``auc``, ``auc_histology``, and ``gain``, the AUC of `found` less that of `whole`.

    Args:
        split: ``n`` photos of both classes, also among the histopathology-confirmed ones.
        found: by preset, ``(draws * n,)``.
        whole: the same of whole photos.
        draws: bootstrap samples.
    """
    malignant, histology = split.malignant.astype(bool), split.histology

    def auc(logits: NDArray[np.float32], rows: NDArray[Any]) -> float:
        noised = logits.reshape(-1, len(malignant))[:, rows]
        return float(np.mean([roc_auc_score(malignant[rows], drawn) for drawn in noised]))

    def of_preset(name: str) -> dict[str, Figure]:
        def measure(rows: NDArray[Any]) -> dict[str, float]:
            own, confirmed = auc(found[name], rows), rows[histology[rows]]
            both = 0 < malignant[confirmed].sum() < len(confirmed)
            return {
                "auc": own,
                "auc_histology": auc(found[name], confirmed) if both else float("nan"),
                "gain": own - auc(whole[name], rows),
            }

        return bootstrap(measure, split.lesion, malignant, draws=draws)

    return {name: of_preset(name) for name in found}


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--out", type=Path, required=True, help="folder for photos and apparent-size.json")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--split", choices=("val", "test"), default="val")
    chosen.add_argument("--unseen", metavar="SOURCE", help="source of training photos that the bundle never saw")
    parser.add_argument("--privacy", nargs="+", metavar="PRESET", help="presets (default: all of the bundle)")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--shares", nargs="+", type=command.positive_share, default=SHARES, help="of the photo's edge that are tried"
    )
    parts.add_argument(
        "--around", nargs="+", type=command.positive, metavar="TIMES", help="the lesion, that are tried instead"
    )
    parser.add_argument("--draws", type=command.whole(1), default=200, help="bootstrap samples")
    args = parser.parse_args()
    bundle, data = Bundle.load(args.bundle), Dataset.read(args.data, args.out)
    presets, side = [bundle.preset(name).spec.preset for name in args.privacy or bundle.presets], bundle.manifest.side
    whole: Logits = {}
    report: dict[str, dict[str, dict[str, Figure]]] = {}
    photos = photos_of(data, args.split, args.unseen)
    ways = [(f"{share:.2f} of the edge", partial(middle, data, photos, side, share)) for share in (WHOLE, *args.shares)]
    if args.around:
        ways[1:] = [(f"{times:g} times the lesion", partial(around, photos, side, times)) for times in args.around]
    for shown, read in ways:
        split = read()
        found = deployed.measured_logits(bundle, split, presets)
        whole = whole or found
        report[shown] = compared(split, found, whole, args.draws)
        write_json(
            args.out / "apparent-size.json",
            {"bundle": bundle.id, "photos": args.unseen or args.split, "shown": report},
        )
    print(markdown_table(COLUMNS, [_row(name, shown, report[shown][name]) for name in presets for shown in report]))


def _row(preset: str, shown: str, found: Mapping[str, Figure]) -> tuple[object, ...]:
    aucs = (f"{found[name].value:.4f}" for name in ("auc", "auc_histology"))
    return (preset, shown, *aucs, found["gain"])


if __name__ == "__main__":
    command.run(main)
