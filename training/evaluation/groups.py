r"""Figures of a bundle by source, kind of photo, skin tone, age and sex, beside what colours alone tell.

    python -m training.evaluation.groups --data ../shared/data --fold FOLD --fold FOLD [--model BUNDLE] [--privacy none]

Test photos are answered by the bundle. Photos that it may have learned are answered by folds that held them out
(`training.evaluation.out_of_fold`); without folds they are left out, as a figure of them would say nothing. Answers are
read by the kind of the photo, as on the device. Premalignant lesions are left out. Intervals are 95 % by bootstrap over
lesions, for phone photos over patients. Skin tone is the individual typology angle of the photo's border, which light
and camera move too: it sorts photos rather than people. The colours' model learns from the training photos of HAM10000.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from securesplit.audit.properties import skin_tone
from securesplit.model import Bundle, Preset
from securesplit.results import Kind
from securesplit.text import markdown_table
from training import command
from training.data.collection import not_a_collection
from training.data.dataset import Dataset, centre_square
from training.data.photo import Photo, without_fold
from training.evaluation import deployed, metrics
from training.evaluation.baseline import colour_baselines
from training.evaluation.measured import GroupRow
from training.evaluation.metrics import MIN_CASES, at_threshold, auc_interval, expected_calibration_error
from training.evaluation.out_of_fold import OutOfFold
from training.output import write_json

SKIN_TONES = {"very light": 55.0, "light": 41.0, "intermediate": 28.0, "tan": 10.0, "brown": -30.0, "dark": -180.0}
"""From which angle on, in degrees (Chardon et al. 1991; Del Bino and Bernerd 2013)."""


@dataclass(frozen=True)
class Answered:
    """Photos with their answers; every array has one row for each photo.

    Attributes:
        photos: counted ones.
        probability: calibrated, ``(n,)``.
        called: malignant by the threshold of the photo's kind, ``(n,) bool``.
        skin: typology angle in degrees, ``(n,)``.
        colours: score of colour statistics alone, ``(n,)``.
    """

    photos: tuple[Photo, ...]
    probability: NDArray[np.float64]
    called: NDArray[np.bool_]
    skin: NDArray[np.float64]
    colours: NDArray[np.float64]


COLUMNS = [
    *("group", "photos", "malignant", "AUC", "histopathology-confirmed", "colours alone"),
    *("sensitivity", "specificity", "ECE"),
]


def answered(bundle: Bundle, name: str, folds: Sequence[Bundle], data: Dataset) -> Answered:
    """Answers of the preset `name` to all photos that nothing which answers them has learned.

    Raises:
        DataError: there are no training photos of HAM10000, which the colours' model needs.
    """
    train = [p for p in data.photos["train"] if p.source == "ham10000"]
    if not train:
        raise not_a_collection(data.root)
    parts = [_by_itself(bundle, name, data)]
    if folds:
        found = OutOfFold.of(folds, [p for p in data.photos["train"] if not p.is_premalignant], data)
        parts.append((found.split.photos, found.split.pixels, found.logits(bundle, name)))
    photos = tuple(p for own, _, _ in parts for p in own)
    logits = np.concatenate([logits for *_, logits in parts])
    skin = [skin_tone(square) for _, pixels, _ in parts for square in centre_square(pixels)]
    (colours,) = colour_baselines(train, [photos])
    read = {kind: _of_kind(bundle, bundle.presets[name], kind) for kind in get_args(Kind)}
    probability = np.array(
        [read[p.kind].calibration.probability(float(x)) for p, x in zip(photos, logits, strict=True)]
    )
    called = probability >= np.array([read[p.kind].threshold for p in photos])
    return Answered(photos, probability, called, np.array(skin), colours)


def _by_itself(bundle: Bundle, name: str, data: Dataset) -> tuple[tuple[Photo, ...], NDArray[Any], NDArray[Any]]:
    counted = [p for p in data.photos["test"] if not p.is_premalignant]
    split = data.framed(bundle.manifest.framing).decoded(counted, bundle.manifest.side)
    own = deployed.embed(bundle, split)[name]
    spec = bundle.presets[name].spec
    return split.photos, split.pixels, deployed.drawn_logits(bundle, spec, split, own, [deployed.SECRET])


def _of_kind(bundle: Bundle, preset: Preset, kind: str) -> Preset:
    """The preset as the device reads its answers to such photos."""
    gate = bundle.manifest.gate_of(preset.spec.base)
    known = None if gate is None else gate.kinds[kind]  # type: ignore[index]  # a photo's kind is one of `Kind`
    return known.read(preset) if known is not None and known.reads(preset.spec) else preset


def groups_of(found: Answered) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Names and rows of all groups that have any photo."""
    kind = np.array([p.kind for p in found.photos])
    source = np.array([without_fold(p.source) for p in found.photos])
    proven = np.array([p.dx_type == "histo" for p in found.photos])
    for name in dict.fromkeys(source.tolist()):
        yield f"source: {name}", source == name
    for name in get_args(Kind):
        own = kind == name
        yield f"{name}: all", own
        yield f"{name}: histopathology-confirmed", own & proven
        above = np.full(len(own), np.inf)
        for tone, least in SKIN_TONES.items():
            yield f"{name}, skin: {tone}", own & (found.skin >= least) & (found.skin < above)
            above[:] = least
        for stratum, rows in metrics.strata(found.photos).items():
            if not stratum.startswith("site"):
                yield f"{name}, {stratum}", own & np.isin(np.arange(len(own)), rows)


def measure(found: Answered, draws: int = 500) -> list[GroupRow]:
    """A row for each group that has any photo; `draws` bootstrap samples an interval."""
    return [_row(found, name, rows, draws) for name, rows in groups_of(found) if rows.any()]


def _row(found: Answered, name: str, rows: NDArray[np.bool_], draws: int) -> GroupRow:
    photos = [p for p, own in zip(found.photos, rows, strict=True) if own]
    malignant, lesions = np.array([p.malignant for p in photos]), np.array([p.lesion for p in photos])
    if min(malignant.sum(), (~malignant).sum()) < MIN_CASES:
        return GroupRow(name, len(photos), int(malignant.sum()))
    probability, proven = found.probability[rows], np.array([p.dx_type == "histo" for p in photos])
    decisions = at_threshold(malignant, found.called[rows])
    return GroupRow(
        name,
        len(photos),
        int(malignant.sum()),
        auc_interval(probability, malignant, lesions, draws=draws),
        metrics.of_confirmed(probability, malignant, proven).get("auc_histology"),
        float(roc_auc_score(malignant, found.colours[rows])),
        decisions["sensitivity"],
        decisions["specificity"],
        expected_calibration_error(probability, malignant),
    )


def table(rows: Sequence[GroupRow]) -> str:
    """Of Markdown."""
    return markdown_table(COLUMNS, [row.cells() for row in rows])


def main() -> None:
    """Measure and print."""
    parser = command.parser(__doc__)
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, help="default: the one in the package")
    parser.add_argument("--fold", type=Path, action="append", default=[], help="a bundle; may be repeated")
    parser.add_argument("--data", type=Path, required=True, help="a collection, see training.data.collection")
    parser.add_argument("--privacy", "--preset", dest="preset", default="none", help="of the bundle")
    parser.add_argument("--cache", type=Path, default=Path("build/pixels"), help="decoded photos")
    parser.add_argument("--json", type=Path, help="file for all figures")
    args = parser.parse_args()
    bundle, folds = Bundle.load(args.bundle), [Bundle.load(fold) for fold in args.fold]
    name, data = bundle.preset(args.preset).spec.preset, Dataset.read(args.data, args.cache)
    rows = measure(answered(bundle, name, folds, data))
    print(table(rows))
    if args.json:
        write_json(args.json, [asdict(row) for row in rows])


if __name__ == "__main__":
    command.run(main)
