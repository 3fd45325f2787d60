r"""What each change of a configuration brings on validation photos, side by side, over several seeds.

    python -m training.studies.ablation mixup=0 mixup=0,cutmix=1 focal=2 hairs=3 --config dermoscopy --set ema=0 \
        --set backbone=mobilenet_v2 --set side=96 --set photos=1000 --set epochs=4 --weights WEIGHTS --out build/compare

Each word is one variant: ``KEY=VALUE``, several joined by commas. The configuration itself and every variant are
trained once a seed; a variant's figure is the mean of its differences to the configuration of the same seed.
``compare.json`` is written after every run, so a comparison that was killed resumes; ``compare.md`` is the table. A run
that diverges is noted as that, and the comparison goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import keras
import numpy as np

from securesplit.atomic import write_text_atomic
from securesplit.errors import ConfigError
from securesplit.text import markdown_table
from training import command
from training.data.dataset import Dataset
from training.network.arguments import common_arguments, starts_from
from training.network.config import Config, changed, named
from training.network.train import train
from training.network.validation import DivergedError
from training.output import write_json
from training.studies import begun

SCHEMA = "securesplit.comparison/1"
FILE = "compare.json"
BASE = "as it is"


Runs = dict[str, dict[str, float] | None]
"""By seed: the figures of the best epoch; None where the network diverged."""


class Comparison(TypedDict):
    """``compare.json``; `runs` by variant."""

    schema: str
    around: dict[str, Any]
    runs: dict[str, Runs]


def compare(
    config: Config, variants: Sequence[str], data: Dataset, out: Path, *, seeds: int, **options: Any
) -> Comparison:
    """Train what is not trained yet; return the content of ``compare.json``.

    Args:
        config: what the variants change.
        variants: each ``KEY=VALUE`` settings joined by commas.
        data: the photos of every run.
        out: folder of the comparison; runs of variants that are no longer asked for stay in it.
        seeds: runs of each variant, seeded from 1.
        options: for `training.network.train.train`.

    Raises:
        ConfigError: a variant is no configuration, `out` holds a comparison around another one or of other photos, or
            every run of the configuration itself diverged.
    """
    wanted = {BASE: config, **{variant: changed(config, variant.split(",")) for variant in variants}}
    around = begun.around(data, **config.to_json(), **starts_from(options))
    file = out / FILE
    content: Comparison = {"schema": SCHEMA, "around": around, "runs": {}}
    if file.is_file():
        content = json.loads(file.read_text(encoding="utf-8"))
        begun.check_goes_on(out, "comparison", content["around"], around)
        content["around"] = around
    out.mkdir(parents=True, exist_ok=True)
    for seed in range(1, seeds + 1):
        for name, variant in wanted.items():
            done = content["runs"].setdefault(name, {})
            if str(seed) in done:
                continue
            run = out / "run"
            shutil.rmtree(run, ignore_errors=True)
            keras.backend.clear_session()
            try:
                done[str(seed)] = train(replace(variant, seed=seed), data, run, verbose=0, **options)
            except DivergedError as error:
                done[str(seed)] = None
                print(f"{name}, seed {seed}: {error.message}", flush=True)
            shutil.rmtree(run)
            write_json(file, content)
            write_text_atomic(out / "compare.md", markdown(content))
    if not figures_of(content["runs"][BASE]):
        hint = "give another --out and a smaller learning_rate, or --precision float32"
        raise ConfigError("the configuration itself diverged, so there is nothing to compare with", hint=hint)
    return content


def figures_of(runs: Runs) -> dict[str, dict[str, float]]:
    """By seed, of the runs that did not diverge."""
    return {seed: figures for seed, figures in sorted(runs.items()) if figures is not None}


def differences(content: Comparison, figure: str) -> dict[str, list[float]]:
    """By variant: its `figure` less that of the configuration itself, for each seed of which neither diverged."""
    base = figures_of(content["runs"][BASE])
    return {
        name: [own[figure] - base[seed][figure] for seed, own in figures_of(runs).items() if seed in base]
        for name, runs in content["runs"].items()
        if name != BASE and runs
    }


def markdown(content: Comparison) -> str:
    """The table, the best variant first."""
    around, base = content["around"], list(figures_of(content["runs"][BASE]).values())
    monitor = f"val_{around['monitor']}"
    shown = [monitor, *(["val_auc_histology"] if base and all("val_auc_histology" in run for run in base) else [])]
    size = f"{around['photos']} photos" if around["photos"] else "all photos"
    head = (
        f"# Variants of `{around['backbone']}`\n\n"
        f"{around['side']} pixels, {size} to train, {around['epochs']} epochs a run; best epoch on validation photos. "
        "Differences to the configuration itself, of the same seed: their mean, and from the least to the most.\n"
        "One that is not of one sign says nothing, and a larger network or more photos may rank variants otherwise.\n\n"
    )
    rows = [[BASE, *(_spread([run[name] for run in base], "") for name in shown), _seeds(content["runs"][BASE])]]
    by_figure = [differences(content, name) for name in shown]
    for variant in sorted(by_figure[0], key=lambda name: -float(np.mean(by_figure[0][name] or [-np.inf]))):
        spreads = (_spread(found[variant], "+") for found in by_figure)
        rows.append([f"`{variant}`", *spreads, _seeds(content["runs"][variant])])
    return head + markdown_table(["variant", *map(_title, shown), "seeds"], rows) + "\n"


def _seeds(runs: Runs) -> str:
    diverged = len(runs) - len(figures_of(runs))
    return f"{len(runs)}, {diverged} diverged" if diverged else f"{len(runs)}"


def _spread(values: list[float], sign: str) -> str:
    if not values:
        return "–"
    low, high = min(values), max(values)
    return f"{np.mean(values):{sign}.3f}" + (f" ({low:{sign}.3f} to {high:{sign}.3f})" if len(values) > 1 else "")


def _title(figure: str) -> str:
    return {"val_auc": "AUC", "val_auc_histology": "histopathology-confirmed only"}.get(
        figure, figure.removeprefix("val_")
    )


def main() -> None:
    """Command line."""
    parser = common_arguments(__doc__)
    parser.add_argument("variants", nargs="+", metavar="KEY=VALUE[,KEY=VALUE]")
    parser.add_argument("--out", type=Path, default=Path("build/compare"))
    parser.add_argument("--seeds", type=command.whole(1), default=2, help="runs of each variant")
    args: Mapping[str, Any] = vars(parser.parse_args())
    data = Dataset.read(args["data"], args["out"] / "pixels")
    content = compare(
        *(named(args["config"], args["set"]), args["variants"], data, args["out"]),
        **{name: args[name] for name in ("seeds", "weights", "start", "precision")},
    )
    print(markdown(content))


if __name__ == "__main__":
    command.run(main)
