"""The table of the study."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from securesplit.text import markdown_table
from training.studies.defences.defence import Defence

COLUMNS = (
    "defence",
    "AUC, noisy",
    "less than the undefended network (95 %)",
    "ridge skill",
    "decoder skill",
    "SSIM above class mean",
    "own original among 300",
    "identified of 1,000",
    "linked, AUC",
    "told best beyond the label, AUC (95 %)",
    "device's share",
    "bytes",
    "seeds",
)

WIDTH = 120
"""Characters of a line above the table."""
Runs = Mapping[str, Mapping[str, Any] | None]
"""By seed, the figures of `training.studies.defences.measure.measured`; None where the training diverged."""


def markdown(content: Mapping[str, Any], defences: tuple[Defence, ...]) -> str:
    """All rows that have been measured, means over the seeds."""
    settings = content["settings"]
    head = (
        f"Cut `{settings['cut']}`, {settings['size']}×{settings['size']}×{settings['channels']} numbers, noise "
        f"σ = {settings['sigma']} in all but the first row; {settings['press_steps']} steps, {settings['learn']} of "
        f"them with noise alone; attackers hold {content['photos']['attackers']} photos, victims are "
        f"{content['photos']['victims']} of other lesions. Undefended network: AUC {content['undefended_auc']:.4f}"
        f"{_answer_alone(content['runs'])}."
    )
    rows = [_row(d, content["runs"][d.name]) for d in defences if content["runs"].get(d.name)]
    return f"{textwrap.fill(head, WIDTH)}\n\n{markdown_table(COLUMNS, rows)}\n"


def _answer_alone(runs: Mapping[str, Runs]) -> str:
    """The attribute that the undefended network's answer tells best, of any run: that answer is of no defence."""
    measured = (run for of_defence in runs.values() for run in of_defence.values() if run is not None)
    if (first := next(measured, None)) is None:
        return ""
    told = first["undefended_answer_beyond_label"]
    best = max(told, key=lambda name: float(told[name]["beyond"]))
    return f"; its answer alone tells {best} {_interval([told[best]], 'beyond')} beyond the label"


def _row(defence: Defence, runs: Runs) -> list[str]:
    each = [run for run in runs.values() if run is not None]
    diverged = len(runs) - len(each)
    seeds = f"{len(runs)}, {diverged} diverged" if diverged else f"{len(runs)}"
    if not each:
        return [f"{defence.title} ({defence.source})", *[""] * (len(COLUMNS) - 2), seeds]
    answers = [run.get("answer_auc", run["probe_auc"]) for run in each]
    best = max(each[0]["beyond_label"], key=lambda name: _mean([run["beyond_label"][name]["beyond"] for run in each]))
    beyond = [run["beyond_label"][best] for run in each]
    return [
        f"{defence.title} ({defence.source})",
        f"{_mean([answer['mean'] for answer in answers]):.4f}",
        _interval([answer["lost"] for answer in answers], "mean"),
        f"{_mean([run['ridge_skill'] for run in each]):.3f}",
        f"{_mean([max(run['decoder_skill_by_epoch']) for run in each]):.3f}",
        f"{_mean([run['ssim_above_class_mean'] for run in each]):+.3f}",
        f"{_mean([run['own_original_among_300'] for run in each]):.1%}",
        f"{_mean([run['identified_among_1000'] for run in each]):.1%}",
        _linked([run["linked_auc"] for run in each]),
        f"{best} {_interval(beyond, 'beyond')}",
        f"{each[0]['device_share']:.1%}",
        str(each[0]["request_bytes"]),
        seeds,
    ]


def _linked(aucs: list[float | None]) -> str:
    """Their mean; of photos of which none shows the lesion of another there is none."""
    known = [auc for auc in aucs if auc is not None]
    return f"{_mean(known):.3f}" if known else "–"


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _interval(estimates: list[Mapping[str, float]], middle: str) -> str:
    """Mean over the seeds of a figure and of its interval's ends."""
    mean, low, high = (_mean([each[name] for each in estimates]) for name in (middle, "low", "high"))
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
