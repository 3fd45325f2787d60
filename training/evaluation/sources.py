r"""AUC of a network on each source of photos that it was not trained on, beside what colours alone tell.

    python -m training.evaluation.sources --run build/collection --data ../shared/data
    python -m training.evaluation.sources --model BUNDLE --data ../shared/data [--privacy none]

A run is measured on the sources that it held out and on the validation photos, with ``--test`` on the test photos
too; a bundle, which does not say what it was trained on, on every source. Premalignant lesions are left out.
Intervals are by bootstrap over lesions, for phone photos over patients. The colours' model learns from the photos of
HAM10000 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from securesplit.model import Bundle
from training import command
from training.data.collection import not_a_collection
from training.data.dataset import Dataset, Split
from training.data.photo import Photo, without_fold
from training.evaluation import deployed
from training.evaluation.baseline import colour_baselines
from training.evaluation.metrics import auc_interval, of_confirmed
from training.network.config import Config
from training.network.model import build_model
from training.network.run_record import best_weights, config_of
from training.network.train import load_start, squares

_NOISE_SECRET = bytes(32)
"""Any fixed key: a table that is printed twice shows the same draw of the noise."""


@dataclass(frozen=True)
class SourceRow:
    """One source's figures.

    Attributes:
        source: its name, all folds of the phone photos together.
        photos: how many were scored.
        malignant: how many of them are.
        auc: with its 95 % interval.
        histology_auc: among photos whose label histopathology confirmed, None where one class is missing there.
        colour_auc: of colour statistics alone.
    """

    source: str
    photos: int
    malignant: int
    auc: tuple[float, float, float]
    histology_auc: float | None
    colour_auc: float

    def __str__(self) -> str:
        auc, low, high = self.auc
        proven = "" if self.histology_auc is None else f"{self.histology_auc:.3f}"
        counts = f"{self.source:22}{self.photos:7}{self.malignant:11}"
        return f"{counts}{auc:8.3f}  {low:.3f} to {high:.3f}  {proven:>10}{self.colour_auc:14.3f}"


HEADING = f"{'source':22} photos  malignant     AUC  95 % interval    histology colours alone"
Scorer = Callable[[Split], NDArray[Any]]


def by_source(
    data: Dataset, photos: Sequence[Photo], colour_train: Sequence[Photo], score: Scorer, side: int
) -> list[SourceRow]:
    """A row for each source of `photos` that holds both classes.

    Args:
        data: decodes them.
        photos: to be scored.
        colour_train: what the colours' model learns from.
        score: ``(n, side, w, 3)`` frames of a split -> ``(n,)``, larger for malignant.
        side: height of the frames.
    """
    groups: dict[str, list[Photo]] = {}
    for photo in photos:
        if not photo.is_premalignant:
            groups.setdefault(without_fold(photo.source), []).append(photo)
    groups = {name: group for name, group in groups.items() if 0 < sum(p.malignant for p in group) < len(group)}
    colours = colour_baselines(colour_train, list(groups.values()))
    return [
        _row(name, group, score(data.decoded(group, side)), colour)
        for (name, group), colour in zip(groups.items(), colours, strict=True)
    ]


def _row(name: str, photos: Sequence[Photo], scores: NDArray[Any], colours: NDArray[Any]) -> SourceRow:
    malignant = np.array([p.malignant for p in photos])
    lesions = np.array([p.lesion for p in photos])
    proven = np.array([p.dx_type == "histo" for p in photos])
    histology = of_confirmed(scores, malignant, proven).get("auc_histology")
    auc = auc_interval(scores, malignant, lesions)
    colour_auc = float(roc_auc_score(malignant, colours))
    return SourceRow(name, len(photos), int(malignant.sum()), auc, histology, colour_auc)


def scorer_of_run(run: Path, config: Config) -> Scorer:
    """The best network of a run, without random views."""
    network = build_model(config)
    load_start(network, best_weights(run))

    def score(split: Split) -> NDArray[Any]:
        shown = squares(split, config.side)
        return np.asarray(network.predict(shown, batch_size=64, verbose=0)["malignant"])[:, 0]

    return score


def scorer_of_bundle(bundle: Bundle, preset: str) -> Scorer:
    """A bundle as deployed, with the noise of `preset`."""
    spec = bundle.presets[preset].spec
    return lambda split: deployed.drawn_logits(
        bundle, spec, split, deployed.embed(bundle, split)[preset], [_NOISE_SECRET]
    )


def main() -> None:
    """Measure and print."""
    parser = command.parser(__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", type=Path, help="folder of a run of training.train")
    which.add_argument("--model", "--bundle", dest="bundle", type=Path, help="folder of a bundle")
    parser.add_argument("--data", type=Path, required=True, help="a collection, see training.data.collection")
    parser.add_argument("--privacy", "--preset", dest="preset", default="none", help="of the bundle")
    parser.add_argument("--test", action="store_true", help="of a run: the test photos too")
    parser.add_argument("--cache", type=Path, default=Path("build/sources"), help="decoded photos")
    args = parser.parse_args()
    data = Dataset.read(args.data, args.cache)
    photos = data.photos
    ham10000 = [p for p in photos["train"] if p.source == "ham10000"]
    if not ham10000:
        raise not_a_collection(args.data)
    if args.run is not None:
        config = config_of(args.run)
        held = data.holding_out(config.held_out) if config.held_out else data
        shown = {"val": held.photos["val"], **({"test": photos["test"]} if args.test else {})}
        score, side, framing = scorer_of_run(args.run, config), config.side, config.framing
    else:
        others = [p for p in photos["train"] if p.source != "ham10000"]
        shown = {"val": [*photos["val"], *others], "test": photos["test"]}
        bundle = Bundle.load(args.bundle)
        score, side = scorer_of_bundle(bundle, bundle.preset(args.preset).spec.preset), bundle.manifest.side
        framing = bundle.manifest.framing
    for split, chosen in shown.items():
        print(f"\n{split}\n{HEADING}")
        for row in by_source(data.framed(framing), chosen, ham10000, score, side):
            print(row, flush=True)


if __name__ == "__main__":
    command.run(main)
