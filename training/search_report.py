"""What a search found: ``search.json``, ``search.md`` and ``search.png``, written anew after every trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

mpl.use("Agg")
DOTS_PER_INCH = 100
PARAMETERS = ("learning_rate", "dropout", "batch", "strength")
MIN_TRIALS_FOR_IMPORTANCE = 4


def line(trial: FrozenTrial) -> str:
    """One trial for people."""
    values = " ".join(f"{name} {_short(trial.params[name])}" for name in PARAMETERS if name in trial.params)
    return f"trial {trial.number}: {values}: {trial.state.name.lower()} {_figure(trial)}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def best_figure(trial: FrozenTrial) -> float | None:
    """The best figure of any epoch; a trial that was stopped early has one too."""
    figures: list[float] = list(trial.intermediate_values.values())
    return max(figures, default=trial.value)


def _figure(trial: FrozenTrial) -> str:
    figure = best_figure(trial)
    return "–" if figure is None else f"{figure:.4f}"


def write(study: optuna.Study, out: Path) -> None:
    """All three files, from the trials that came to an answer."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return
    content = {
        "schema": "securesplit.search/1",
        "around": study.user_attrs["around"],
        "best": {"trial": study.best_trial.number, "figure": study.best_value, "parameters": study.best_params},
        "importance": _importance(study, complete),
        "trials": [
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "parameters": trial.params,
                "figure_by_epoch": trial.intermediate_values,
                "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else None,
            }
            for trial in trials
        ],
    }
    (out / "search.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "search.md").write_text(markdown(content, trials), encoding="utf-8")
    plot(trials, study.user_attrs["around"]["monitor"], out / "search.png")


def _importance(study: optuna.Study, complete: list[FrozenTrial]) -> dict[str, float]:
    """Share of the figure's variance that each parameter explains (fANOVA, Hutter et al. 2014)."""
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE or len({trial.value for trial in complete}) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=1)
    return {n: round(v, 3) for n, v in optuna.importance.get_param_importances(study, evaluator=evaluator).items()}


def markdown(content: dict[str, Any], trials: list[FrozenTrial]) -> str:
    """The report for people: what was searched around, the trials best first, what mattered."""
    around = content["around"]
    size = f"{around['photos']} photos" if around["photos"] else "all photos"
    head = (
        f"# Search around `{around['backbone']}`\n\n"
        f"{around['side']} pixels, {size} to train, {around['epochs']} epochs a trial; the figure is the best "
        f"{around['monitor']} of any epoch on validation photos.\n"
        "It ranks settings at this size; a larger network, more photos or more epochs may rank them otherwise.\n"
    )
    rows = [
        "| trial | learning rate | dropout | batch | strength of augmentation | figure | |",
        "|---|---|---|---|---|---|---|",
    ]
    for trial in sorted(trials, key=lambda t: -(best_figure(t) or 0.0)):
        values = " | ".join(_short(trial.params[name]) for name in PARAMETERS)
        stopped = f"stopped after epoch {max(trial.intermediate_values, default=0)}"
        rows.append(
            f"| {trial.number} | {values} | {_figure(trial)} | {stopped if trial.state == TrialState.PRUNED else ''} |"
        )
    found = content["importance"]
    shares = ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in found.items())
    tail = f"\nExplained variance of the figure (fANOVA, complete trials): {shares}.\n" if found else ""
    return head + "\n" + "\n".join(rows) + "\n" + tail


def plot(trials: list[FrozenTrial], monitor: str, file: Path) -> None:
    """The figure of each trial over each parameter, and the best so far over the trials."""
    figure = Figure(figsize=(15, 3.2), layout="constrained")
    axes = figure.subplots(1, 5, sharey=True)
    known = [trial for trial in trials if best_figure(trial) is not None]
    for kind, marker in ((TrialState.COMPLETE, "o"), (TrialState.PRUNED, "x")):
        members = [trial for trial in known if trial.state == kind]
        heights = [best_figure(trial) for trial in members]
        axes[0].plot([t.number for t in members], heights, marker, label=kind.name.lower())
        for place, name in zip(axes[1:], PARAMETERS, strict=True):
            place.plot([t.params[name] for t in members], heights, marker)
    best: list[float] = []
    for trial in known:
        best.append(max([best_figure(trial) or 0.0, *best[-1:]]))
    axes[0].step([t.number for t in known], best, color="grey", where="post", linewidth=1)
    axes[0].set(xlabel="trial", ylabel=f"validation {monitor.replace('_', ' ')}")
    axes[0].legend(loc="lower right")
    for place, name in zip(axes[1:], PARAMETERS, strict=True):
        place.set(xlabel=name.replace("_", " "), xscale="log" if name == "learning_rate" else "linear")
    figure.savefig(file, dpi=DOTS_PER_INCH)
