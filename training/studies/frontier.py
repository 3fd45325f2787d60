"""The frontier of the ``certified`` preset: accuracy against leakage, by regulariser, number of levels and noise.

    python -m training.studies.frontier --run build/efficientnetv2b0

Each regulariser trains its own encoder on the cached cut maps of stage 2, small and short so that a point is cheap;
every number of levels and every noise is then measured on that encoder. All figures are of validation photos
(`training.studies.leakage_tables`). Finished encoders are kept in the run folder and not trained again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.plots import figure, png
from securesplit.text import figures_json, markdown_table, rounded_up
from training import command
from training.data.dataset import Dataset
from training.data.photo import Photo
from training.network.train import shipped_of
from training.output import write_json
from training.release import quantizer
from training.release.cache import Cached, cache_arguments, load_cached, secrets_of
from training.release.encoders import CERTIFIED_LEVELS, CERTIFIED_SIGMA, certified_spec
from training.release.presets.certified import REGULARISERS, CertifiedRecipe, scores_of, train_score
from training.studies import leakage_tables
from training.studies.leakage_tables import LevelledPhotos

POINTS: tuple[Mapping[str, float], ...] = (
    {},
    {"distance correlation": 0.3},
    {"distance correlation": 1.0},
    {"age correlation": 0.3},
    {"adversary": 0.3},
    {"adversary": 1.0},
    {"class spread": 0.3},
    {"class spread": 2.0},
    {"jacobian": 0.3},
    REGULARISERS,
)
"""Weights of regularisers, tried side by side."""
RELEASES = ((3, 0.3), (5, 0.15), (5, 0.2), (6, 0.1167), (6, 0.15), (7, 0.1), (7, 0.1333), (9, 0.1))
"""(levels, σ/C)."""


def measured(
    scores: tuple[NDArray[np.float64], NDArray[np.float64]],
    photos: Mapping[str, Sequence[Photo]],
    cached: tuple[Cached, Cached],
) -> list[dict[str, Any]]:
    """A row for every release of `RELEASES` from the scores of the training and validation photos' centre squares."""
    rows = []
    for count, sigma in RELEASES:
        spec = certified_spec(count, sigma)
        variance = float(spec.sigma_squared)
        fitted = quantizer.fit(scores[1], cached[1].malignant[:, 0] > 0, count, variance)
        own, victims = (
            LevelledPhotos(
                photos[split], fitted.level(s), c.malignant[: len(s), 0] > 0, c.thumbnail[: len(s)].astype(np.float32)
            )
            for split, s, c in zip(("train", "val"), scores, cached, strict=True)
        )
        point = {"levels": count, "sigma_per_clip": sigma, "epsilon": rounded_up(spec.loss.epsilon(), 1)}
        bound = {"A6 bound": rounded_up(spec.loss.identification_bound(leakage_tables.CANDIDATES), 5)}
        rows.append(point | leakage_tables.measure(own, victims, fitted, variance) | bound)
    return rows


def plot(rows: list[dict[str, Any]], undefended: float) -> bytes:
    """AUC lost against each leak beyond what the label gives, by regularisers, as PNG."""
    made, axes = figure(13, 4, 3)
    for axis, leak in zip(axes, ("A7", "age", "site"), strict=True):
        for r in _as_shipped(rows):
            axis.plot(r[leak] - r[f"{leak} label"], 100 * (undefended - r["auc"]), "o", ms=5, label=r["regularisers"])
        axis.set(xlabel=f"{leak} beyond the label", ylabel="AUC lost, points")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    return png(made)


def _as_shipped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the release that ships."""
    return [r for r in rows if (r["levels"], r["sigma_per_clip"]) == (CERTIFIED_LEVELS, CERTIFIED_SIGMA)]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    columns = list(rows[0])
    return markdown_table(columns, [[row[c] for c in columns] for row in rows]) + "\n"


def main() -> None:
    """Command line."""
    parser = cache_arguments(__doc__)
    parser.add_argument("--epochs", type=command.whole(1), default=3)
    parser.add_argument("--members", "--towers", type=command.whole(1), default=1)
    args = parser.parse_args()
    data = Dataset.read(args.data, args.run.parent / "pixels")
    photos = data.photos
    cached = load_cached(args.run, shipped_of(args.run, args.backbone), data, args.backbone, views=args.views)
    secrets = secrets_of(photos["train"])
    undefended = quantizer.released_auc(*_histograms(cached[1]))
    rows: list[dict[str, Any]] = []
    recipe = CertifiedRecipe(members=args.members, epochs=args.epochs)
    centre = replace(cached[0], maps=cached[0].maps[: len(photos["train"])])
    for point in POINTS:
        name = ", ".join(f"{term} {weight:g}" for term, weight in point.items()) or "none"
        file = args.run / f"point-{name.replace(', ', '-').replace(' ', '-')}.weights.h5"
        chosen = replace(recipe, regularisers=point)
        score = train_score(cached[0], secrets, file, chosen)
        scores = (scores_of(score, centre), scores_of(score, cached[1]))
        about = {"regularisers": name}
        rows += [about | row for row in measured(scores, photos, cached)]
        print(figures_json(_as_shipped(rows)[-1]), flush=True)
    write_json(args.run / "frontier.json", {"recipe": recipe.to_json(), "rows": rows})
    (args.run / "frontier.md").write_text(table(rows))
    (args.run / "frontier.png").write_bytes(plot(rows, float(undefended)))


def _histograms(val: Cached) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Class shares at each distinct undefended logit, in rising order."""
    malignant = val.malignant[:, 0] > 0
    values = np.unique(val.teacher[:, 0], return_inverse=True)[1]
    benign, positive = (np.bincount(values[m], minlength=values.max() + 1) / m.sum() for m in (~malignant, malignant))
    return benign, positive


if __name__ == "__main__":
    command.run(main)
