"""The audit's figures as Markdown tables, for documents that quote them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from securesplit.audit import goals
from securesplit.audit.page import SECTIONS, Column, cell

Audit = dict[str, Any]
QUOTED = ("summary", "control", "reconstruction", "identification", "lesion", "attribute", "frontier", "not run")


def tables(audit: Audit) -> str:
    """Every section of the report with its intervals, the verdict first."""
    photos = audit["photos"]
    about = (
        f"Bundle `{audit['bundle']['id'][:23]}…`, a {audit['effort']} audit on {photos['from']}: "
        f"{photos['own']} photos of the attacker's, {photos['victims']} to recognise, "
        f"{photos['rebuilt']} to rebuild at {photos['side']} px."
    )
    parts = [about, _goals(audit["goals"])]
    for kind in QUOTED:
        title, columns = SECTIONS[kind]
        results = [r for r in audit["results"] if r["kind"] == kind]
        if results:
            parts.append(f"### {title}\n\n{table(columns, results)}")
    return "\n\n".join(parts) + "\n"


def table(columns: Sequence[Column], results: Iterable[dict[str, Any]]) -> str:
    """One Markdown table, a row a result."""
    head = [title for title, _ in columns]
    return _rows([head, ["---"] * len(head), *([cell(r, key) for _, key in columns] for r in results)])


def _goals(judged: Iterable[dict[str, Any]]) -> str:
    rows = [["preset", "claim", "measured", "limit", "beyond the floor, paired", ""], ["---"] * 6]
    for goal in judged:
        measured = "–" if goal["value"] is None else f"{goal['value']:.4g}"
        limit = "–" if goal["limit"] is None else f"{goal['limit']:.4g}"
        word = "**failed**" if goal["state"] == goals.FAILED else goals.word(goal)
        cells = [goal["preset"], goal["claim"], measured, limit, goals.difference(goal), word]
        rows.append(cells)
    return _rows(rows)


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
