"""The audit's figures as Markdown tables, for documents that quote them."""

from __future__ import annotations

from collections.abc import Iterable

from securesplit.audit import goals, registry
from securesplit.audit.goals import Goal
from securesplit.audit.judge import JudgedAudit
from securesplit.audit.results import Result, cell, number
from securesplit.text import markdown_table

GOAL_COLUMNS = ("preset", "claim", "measured", "limit", "beyond the baseline, paired", "")


def tables(audit: JudgedAudit) -> str:
    """Every section of the report with its intervals, the verdict first."""
    photos = audit.photos
    about = (
        f"Bundle `{audit.bundle_id[:23]}…`, a {audit.profile} audit on {photos.source}: "
        f"{photos.auxiliary:,} photos of the attacker's, {photos.targets:,} to recognise, "
        f"{photos.rebuilt:,} to rebuild at {photos.side} px."
    )
    kinds = [(kind, results) for kind in registry.kinds() if (results := audit.of(kind))]
    sections = (f"### {kind.title}\n\n{table(kind, results)}" for kind, results in kinds)
    return "\n\n".join([about, _goals(audit.goals), *sections]) + "\n"


def table(kind: type[Result], results: Iterable[Result]) -> str:
    """One Markdown table, a row a result."""
    rows = [[cell(result, attribute) for _, attribute in kind.columns] for result in results]
    return markdown_table([title for title, _ in kind.columns], rows)


def _goals(judged: Iterable[Goal]) -> str:
    rows = [
        (
            goal.preset,
            goal.claim,
            number(goal.value),
            number(goal.limit),
            goal.difference,
            "**failed**" if goal.state == goals.FAILED else goal.word,
        )
        for goal in judged
    ]
    return markdown_table(GOAL_COLUMNS, rows)
