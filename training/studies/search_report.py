"""What a search found: ``search.json``, ``search.md`` and ``search.png``, rewritten after every trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import optuna
from matplotlib.axes import Axes
from optuna.trial import FrozenTrial, TrialState

from securesplit.audit.plots import figure, png
from securesplit.text import markdown_table
from training.output import write_json

COLOUR, BEST_COLOUR = "#2166ac", "#b2182b"
BATCHES = (16, 32, 64)
LABELS = {
    "learning_rate": "learning rate",
    "dropout": "dropout",
    "batch": "batch",
    "strength": "strength of augmentation",
}
PARAMETERS = tuple(LABELS)
MIN_TRIALS_FOR_IMPORTANCE = 8
DIVERGED = "diverged"
"""The attribute of a trial whose network answered numbers that are not finite."""


class Best(TypedDict):
    """The trial with the best figure."""

    trial: int
    figure: float
    parameters: dict[str, Any]


class TrialFigures(TypedDict):
    """One trial: ``complete``, ``pruned`` or ``diverged``; figures by number of the epoch, seconds that it took."""

    trial: int
    state: str
    parameters: dict[str, Any]
    figure_by_epoch: dict[int, float]
    seconds: float | None


class SearchFile(TypedDict):
    """``search.json``."""

    schema: str
    around: dict[str, Any]
    best: Best
    importance: dict[str, float]
    trials: list[TrialFigures]


def line(trial: FrozenTrial) -> str:
    """One trial for people."""
    values = " ".join(f"{name} {_short(trial.params[name])}" for name in PARAMETERS if name in trial.params)
    return f"trial {trial.number}: {values}: {state(trial)} {_figure(trial)}"


def state(trial: FrozenTrial) -> str:
    """How it ended, in one word."""
    return DIVERGED if DIVERGED in trial.user_attrs else trial.state.name.lower()


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def best_figure(trial: FrozenTrial) -> float | None:
    """The best figure of any epoch; a trial that was stopped early has one too."""
    figures: list[float] = list(trial.intermediate_values.values())
    return max(figures, default=trial.value)


def _figure(trial: FrozenTrial) -> str:
    best = best_figure(trial)
    return "–" if best is None else f"{best:.4f}"


def write(study: optuna.Study, out: Path) -> None:
    """All three files, from the trials that came to an answer."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return
    content: SearchFile = {
        "schema": "securesplit.search/1",
        "around": study.user_attrs["around"],
        "best": {"trial": study.best_trial.number, "figure": study.best_value, "parameters": study.best_params},
        "importance": _importance(study, complete),
        "trials": [
            {
                "trial": trial.number,
                "state": state(trial),
                "parameters": trial.params,
                "figure_by_epoch": trial.intermediate_values,
                "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else None,
            }
            for trial in trials
        ],
    }
    write_json(out / "search.json", content)
    (out / "search.md").write_text(markdown(content, trials), encoding="utf-8")
    plot(trials, study.user_attrs["around"]["monitor"], out / "search.png")


def _importance(study: optuna.Study, complete: list[FrozenTrial]) -> dict[str, float]:
    """Share of the figure's variance that each parameter explains (fANOVA, Hutter et al. 2014)."""
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE or len({trial.value for trial in complete}) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=1)
    return {n: round(v, 3) for n, v in optuna.importance.get_param_importances(study, evaluator=evaluator).items()}


def markdown(content: SearchFile, trials: list[FrozenTrial]) -> str:
    """The report for people: what was searched around, the trials best first, what mattered."""
    around = content["around"]
    size = f"{around['photos']} photos" if around["photos"] else "all photos"
    head = (
        f"# Search around `{around['backbone']}`\n\n"
        f"{around['side']} pixels, {size} to train, {around['epochs']} epochs a trial; the figure is the best "
        f"{_title(around['monitor'])} of any epoch on validation photos.\n"
        "It ranks settings at this size; a larger network, more photos or more epochs may rank them otherwise.\n"
    )
    rows = []
    for trial in sorted(trials, key=lambda t: (state(t) == DIVERGED, -(best_figure(t) or 0.0))):
        values = (_short(trial.params[name]) for name in PARAMETERS)
        how = {"pruned": "stopped", DIVERGED: DIVERGED}.get(state(trial))
        ended = f"{how} after epoch {max(trial.intermediate_values, default=0)}" if how else ""
        rows.append([trial.number, *values, _figure(trial), ended])
    found = content["importance"]
    shares = ", ".join(f"{LABELS[name]} {share:.0%}" for name, share in found.items())
    tail = f"\nExplained variance of the figure (fANOVA, complete trials): {shares}.\n" if found else ""
    table = markdown_table(["trial", *LABELS.values(), _title(around["monitor"]), ""], rows)
    return f"{head}\n{table}\n{tail}"


def plot(trials: list[FrozenTrial], monitor: str, file: Path) -> None:
    """The best so far over the trials, and the figure of each trial over each parameter; the best one is marked."""
    made, axes = figure(13, 3.4, 1 + len(PARAMETERS))
    known = [trial for trial in trials if best_figure(trial) is not None]
    best = np.maximum.accumulate([best_figure(trial) or 0.0 for trial in known])
    axes[0].step([t.number for t in known], best, color=COLOUR, where="post", linewidth=1, alpha=0.6)
    _points(axes[0], known, [trial.number for trial in known])
    axes[0].set(xlabel="trial", ylabel=f"validation {_title(monitor)}")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    for place, name in zip(axes[1:], PARAMETERS, strict=True):
        _points(place, known, [_place(name, trial.params[name]) for trial in known])
        place.set(xlabel=LABELS[name], xscale="log" if name == "learning_rate" else "linear")
        if name == "batch":
            place.set_xticks(range(len(BATCHES)), [str(batch) for batch in BATCHES])
            place.set_xlim(-0.6, len(BATCHES) - 0.4)
    for place in axes[1:]:
        place.sharey(axes[0])
        place.tick_params(labelleft=False)
    for place in axes:
        place.grid(color="0.92", linewidth=0.8)
        place.set_axisbelow(True)
        place.spines[["top", "right"]].set_visible(False)
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    file.write_bytes(png(made))


def _points(place: Axes, trials: list[FrozenTrial], across: list[float]) -> None:
    """Whole trials filled, those that were stopped early hollow, and the best whole one a star."""
    heights = np.array([best_figure(trial) or 0.0 for trial in trials])
    whole = np.array([trial.state == TrialState.COMPLETE for trial in trials])
    best = whole & (heights == heights[whole].max())
    kinds: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("complete", whole & ~best, {"color": COLOUR, "s": 36}),
        ("stopped early", ~whole, {"facecolors": "none", "edgecolors": "0.5", "s": 36}),
        ("best", best, {"color": BEST_COLOUR, "marker": "*", "s": 150, "zorder": 3}),
    )
    for label, members, style in kinds:
        place.scatter(np.array(across)[members], heights[members], label=label, **style)


def _place(name: str, value: float) -> float:
    """Where a value stands on its axis; batch sizes are three choices, not a scale."""
    return BATCHES.index(int(value)) if name == "batch" else value


def _title(monitor: str) -> str:
    return {"auc": "AUC"}.get(monitor, monitor.replace("_", " "))
