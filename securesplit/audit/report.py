"""An audit's results -> ``audit.json``, three plots, ``report.md`` and ``report.html``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from securesplit.audit import goals, markdown, page, plots
from securesplit.audit.context import GALLERY, AuditContext
from securesplit.audit.verdict import sentences

Audit = dict[str, Any]


def finish(audit: Audit) -> Audit:
    """Add the verdict.

    ``goals``, each with its ``state``; ``state`` of the whole, and ``states``, how many goals are in which; ``valid``,
    which is false where a positive control failed or did not run.
    """
    judged = goals.judge(audit)
    valid = not goals.void(audit)
    counts = Counter(goal.state for goal in judged)
    return audit | {
        "valid": valid,
        "state": goals.state_of(judged) if valid else goals.NOT_RUN,
        "states": {state: counts[state] for state in goals.STATES},
        "goals": [goal.to_json() for goal in judged],
    }


def write(audit: Audit, context: AuditContext, out: Path) -> list[Path]:
    """Write everything into `out`; return the files."""
    rows = plots.rows(audit, context.rebuilt_photos[:GALLERY], context.pictures)
    frontier, identification = plots.frontier(audit), plots.identification(audit)
    shown = page.Plots(
        (frontier, plots.frontier(audit, stacked=True)),
        (identification, plots.identification(audit, stacked=True)),
        [(what.replace("\n", ": "), plots.strip(photos, GALLERY)) for what, photos in rows],
    )
    pictures = {"frontier": frontier, "identification": identification, "gallery": plots.gallery(rows)}
    files = {f"{name}.png": content for name, content in pictures.items()}
    files["audit.json"] = (json.dumps(audit, indent=1, allow_nan=False) + "\n").encode()
    files["report.md"] = markdown.tables(audit).encode()
    files["report.html"] = page.render(audit, shown).encode()
    for name, content in files.items():
        (out / name).write_bytes(content)
    return [out / name for name in files]


def verdict(audit: Audit) -> list[str]:
    """The goals as lines for people, the verdict in two sentences first."""
    lines = [*sentences(audit), "", f"{'preset':<10}{'claim':<60}{'measured':>10}{'limit':>10}"]
    for goal in audit["goals"]:
        value = "-" if goal["value"] is None else f"{goal['value']:.4g}"
        limit = "-" if goal["limit"] is None else f"{goal['limit']:.4g}"
        lines.append(f"{goal['preset']:<10}{goal['claim']:<60}{value:>10}{limit:>10}  {goals.word(goal)}")
    cut = [r for r in audit["results"] if "cut_short" in r]
    lines += [f"{r['preset']:<10}{r['attack']} cut short {r['cut_short']}: not tried to the end" for r in cut]
    if cut:
        lines.append(f"{audit['minutes']:g} minutes were not enough: the same command with more --minutes continues")
    left_out = [r for r in audit["results"] if r["kind"] == "not run"]
    lines += [f"{r['preset']:<10}{r['attack']} not run: {r['reason']}" for r in left_out]
    counts = ", ".join(f"{count} {state}" for state, count in audit["states"].items())
    return [*lines, f"goals: {counts}"]
