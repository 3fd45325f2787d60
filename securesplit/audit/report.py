"""An audit's results -> ``audit.json``, three plots, ``report.md`` and ``report.html``."""

from __future__ import annotations

import json
from pathlib import Path

from securesplit import atomic
from securesplit.audit import judge, markdown, page, plots
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import Goal
from securesplit.audit.judge import JudgedAudit
from securesplit.audit.reconstruction import GALLERY
from securesplit.audit.results import Audit, NotRun, Result, number
from securesplit.audit.verdict import sentences


def finish(audit: Audit) -> JudgedAudit:
    """The audit with its verdict: goals with their states, the state of the whole, and whether it is valid at all."""
    return judge.judged(audit)


def write(audit: JudgedAudit, context: AuditContext, out: Path) -> list[Path]:
    """Write everything into `out`, for its owner alone, as photos are shown; return the files."""
    rows = plots.rows(audit, context.rebuilt_photos[:GALLERY], context.pictures)
    frontier, identification = plots.frontier(audit), plots.identification(audit)
    shown = page.Plots(
        (frontier, plots.frontier(audit, stacked=True)),
        (identification, plots.identification(audit, stacked=True)),
        [(what.replace("\n", ": "), plots.strip(photos, GALLERY)) for what, photos in rows],
    )
    pictures = {"frontier": frontier, "identification": identification, "gallery": plots.gallery(rows)}
    files = {f"{name}.png": content for name, content in pictures.items()}
    files["audit.json"] = (json.dumps(audit.to_json(), indent=1, allow_nan=False) + "\n").encode()
    files["report.md"] = markdown.tables(audit).encode()
    files["report.html"] = page.render(audit, shown).encode()
    for name, content in files.items():
        with atomic.atomic_write(out / name) as draft:
            atomic.create(draft, content)
    return [out / name for name in files]


def verdict(audit: JudgedAudit) -> list[str]:
    """The goals as lines for people, the verdict in two sentences first."""
    lines = [*sentences(audit), "", f"{'preset':<10}{'claim':<60}{'measured':>10}{'limit':>10}"]
    lines += map(_line, audit.goals)
    cut = [r for r in audit.of(Result) if r.cut_short]
    lines += [f"{r.preset:<10}{r.attack} cut short {r.cut_short}: not tried to the end" for r in cut]
    if cut:
        lines.append(f"{audit.minutes:g} minutes were not enough: the same command with more --minutes continues")
    lines += [f"{r.preset:<10}{r.attack} not run: {r.reason}" for r in audit.of(NotRun)]
    counts = ", ".join(f"{count} {state}" for state, count in audit.states.items())
    return [*lines, f"goals: {counts}"]


def _line(goal: Goal) -> str:
    value, limit = ("-" if figure is None else number(figure) for figure in (goal.value, goal.limit))
    return f"{goal.preset:<10}{goal.claim:<60}{value:>10}{limit:>10}  {goal.word}"
