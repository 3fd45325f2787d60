"""Which goals can `certified` reach at all? Its own release beside one that tells nothing but the diagnosis.

    python -m training.studies.attainable_goals --run build/efficientnetv2b0

The ideal release has the very scores of ours, exchanged at random among the photos of one diagnosis: it ranks malignant
above benign exactly as ours does, and beyond that it says nothing of age, sex, site, lesion or picture. What it misses,
no training can reach at that accuracy. How often each goal is met is counted over resampled validation lesions, so that
a goal missed or met by luck shows as such. All figures are of validation photos (`training.studies.leakage_tables`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from securesplit.audit import goals
from securesplit.text import figures_json
from training import command
from training.data.dataset import Dataset
from training.data.photo import Photo
from training.network.train import shipped_of
from training.release import quantizer
from training.release.cache import Cached, arrays_of, cache_arguments, load_cached, secrets_of
from training.release.encoders import CERTIFIED_LEVELS, CERTIFIED_SIGMA, certified_spec
from training.release.presets.certified import WEIGHTS, CertifiedRecipe, scores_of, train_score
from training.release.quantizer import Quantizer
from training.studies import leakage_tables
from training.studies.leakage_tables import LevelledPhotos

RESAMPLES = 200
ATTRIBUTES = ("age", "sex", "site")
Margins = dict[str, float]


@dataclass(frozen=True)
class ScoredPhotos:
    """A split's photos: what is known of them, the labels, thumbnails, undefended logits and scores, a row each."""

    listed: Sequence[Photo]
    malignant: NDArray[np.bool_]
    thumbnail: NDArray[np.float32]
    teacher: NDArray[np.float32]
    score: NDArray[np.float64]

    def levelled(self, fitted: Quantizer) -> LevelledPhotos:
        """For `training.studies.leakage_tables`."""
        return LevelledPhotos(self.listed, fitted.level(self.score), self.malignant, self.thumbnail)

    def exchanged(self, rng: np.random.Generator) -> ScoredPhotos:
        """Scores exchanged at random among photos of one diagnosis."""
        score = self.score.copy()
        for members in (np.flatnonzero(self.malignant == c) for c in (False, True)):
            score[members] = score[rng.permutation(members)]
        return replace(self, score=score)

    def resampled(self, rng: np.random.Generator) -> ScoredPhotos:
        """As many lesions, drawn with replacement; a lesion that is drawn twice counts as two."""
        names = np.array([p.lesion for p in self.listed])
        order = np.argsort(names, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(np.unique(names, return_inverse=True)[1][order])) + 1)
        drawn = [(n, groups[i]) for n, i in enumerate(rng.integers(0, len(groups), len(groups)))]
        rows = np.concatenate([members for _, members in drawn])
        listed = [replace(self.listed[i], lesion=str(n)) for n, members in drawn for i in members]
        return ScoredPhotos(listed, *(a[rows] for a in (self.malignant, self.thumbnail, self.teacher, self.score)))


def margins(own: ScoredPhotos, victims: ScoredPhotos, fitted: Quantizer, variance: float) -> Margins:
    """By goal, by how much it is missed; at most 0 where it is met."""
    found = leakage_tables.measure(own.levelled(fitted), victims.levelled(fitted), fitted, variance)
    noise, _ = quantizer.channel(len(fitted.thresholds) + 1, variance)
    level = fitted.level(victims.score) + len(noise) // 2
    shares = (np.bincount(level[m], minlength=len(noise)) / m.sum() for m in (~victims.malignant, victims.malignant))
    auc = float(quantizer.released_auc(*(share @ noise for share in shares)))
    return {
        "AUC": float(roc_auc_score(victims.malignant, victims.teacher)) - auc - goals.MAX_AUC_LOSS,
        "A6": found["A6"] * leakage_tables.CANDIDATES - goals.MAX_IDENTIFIED * 2,
        "A7": found["A7"] - goals.MAX_LESIONS * found["A7 label"],
        **{name: found[name] - found[f"{name} label"] - goals.MAX_ATTRIBUTE_GAIN for name in ATTRIBUTES},
    }


def chances(draws: Iterator[Margins]) -> dict[str, dict[str, float]]:
    """Mean margin of each goal and the share of draws in which it is met; ``all``: in which every one is."""
    rows = list(draws)
    found = {
        name: {
            "margin": round(float(np.mean([row[name] for row in rows])), 4),
            "met": round(float(np.mean([row[name] <= 0 for row in rows])), 3),
        }
        for name in rows[0]
    }
    return found | {"all": {"met": round(float(np.mean([max(row.values()) <= 0 for row in rows])), 3)}}


def compare(
    own: ScoredPhotos, victims: ScoredPhotos, count: int, sigma: float, *, resamples: int = RESAMPLES
) -> dict[str, dict[str, dict[str, float]]]:
    """`chances` of ours and of the ideal release with that many levels and that noise."""
    variance = float(certified_spec(count, sigma).sigma_squared)
    fitted = quantizer.fit(victims.score, victims.malignant, count, variance)

    def draws(change: Callable[[ScoredPhotos, np.random.Generator], ScoredPhotos]) -> Iterator[Margins]:
        rng = np.random.default_rng(0)
        for _ in range(resamples):
            yield margins(change(own, rng), change(victims, rng).resampled(rng), fitted, variance)

    ways = {"ours": lambda photos, _rng: photos, "ideal": lambda photos, rng: photos.exchanged(rng)}
    return {name: chances(draws(change)) for name, change in ways.items()}


def read(
    run: Path, data: Dataset, backbone: str, views: int, recipe: CertifiedRecipe
) -> tuple[ScoredPhotos, ScoredPhotos]:
    """Training and validation photos with the scores of `certified` in the run folder."""
    cached = load_cached(run, shipped_of(run, backbone), data, backbone, views=views)
    secrets = secrets_of(data.photos["train"])
    score = train_score(cached[0], secrets, run / WEIGHTS, recipe)
    first, second = (_of(data.photos[name], score, c) for name, c in zip(("train", "val"), cached, strict=True))
    return first, second


def _of(listed: Sequence[Photo], score: keras.Model, cached: Cached) -> ScoredPhotos:
    centre = replace(cached, **{name: value[: len(listed)] for name, value in arrays_of(cached).items()})
    columns = (centre.malignant[:, 0] > 0, centre.thumbnail.astype(np.float32), centre.teacher[:, 0])
    return ScoredPhotos(listed, *columns, scores_of(score, centre))


def _release(text: str) -> tuple[int, float]:
    try:
        quantizer, sigma = text.split(",")
        return command.whole(2)(quantizer), command.not_negative(sigma)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not levels,σ/C, as 6,0.1167 is") from None


def main() -> None:
    """Command line."""
    parser = cache_arguments(__doc__)
    parser.add_argument(
        "--release", type=_release, action="append", help="levels,σ/C; may be repeated (default: what ships)"
    )
    args = parser.parse_args()
    data = Dataset.read(args.data, args.run.parent / "pixels")
    own, victims = read(args.run, data, args.backbone, args.views, CertifiedRecipe())
    for count, sigma in args.release or [(CERTIFIED_LEVELS, CERTIFIED_SIGMA)]:
        for name, found in compare(own, victims, count, sigma).items():
            print(
                figures_json({"levels": count, "sigma_per_clip": sigma, "release": name} | found),
                flush=True,
            )


if __name__ == "__main__":
    command.run(main)
