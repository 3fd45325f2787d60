"""An audit in two sentences: were the promises kept, and what did the strongest attack get."""

from __future__ import annotations

from collections.abc import Iterable

from securesplit.audit import goals, judge
from securesplit.audit.goals import Goal
from securesplit.audit.judge import JudgedAudit, strongest
from securesplit.audit.results import CONTROL
from securesplit.i18n import gettext as _
from securesplit.i18n import ngettext

MOST_NAMED = 3
"""So many broken promises are named; the table has the others."""


def sentences(audit: JudgedAudit) -> tuple[str, str]:
    """The verdict of a finished audit (`securesplit.audit.report.finish`)."""
    if not audit.valid:
        return (
            _("This audit is void: {why}.", why=audit.why_void),
            _("Its other figures mean nothing; use more or other photos, or more --minutes."),
        )
    return _promises(audit), _attacks(audit)


def _promises(audit: JudgedAudit) -> str:
    promises = [goal for goal in audit.goals if goal.preset != CONTROL and goal.promised]
    broken = [_named(goal) for goal in promises if goal.state == goals.FAILED]
    unjudged = sum(goal.state == goals.NOT_RUN for goal in promises)
    if broken:
        named = "; ".join([*broken[:MOST_NAMED], *(["…"] if len(broken) > MOST_NAMED else [])])
        return ngettext(
            "{n} of {promised} promises was broken: {named}.",
            "{n} of {promised} promises were broken: {named}.",
            len(broken),
            promised=len(promises),
            named=named,
        )
    if unjudged:
        return _(
            "No promise was broken, but {n} of {promised} could not be judged.", n=unjudged, promised=len(promises)
        )
    if not promises:
        return _("Nothing that was measured is promised.")
    return ngettext("The one promise was kept.", "All {n} promises were kept.", len(promises))


def _named(goal: Goal) -> str:
    """A broken promise; one whose paired interval holds 0 is broken by no more than the photos can tell."""
    named, difference = f"{goal.preset}, {goal.claim}", goal.paired_difference
    if difference is not None and difference.low <= 0:
        return _("{named} (by no more than these photos can tell)", named=named)
    return named


def _attacks(audit: JudgedAudit) -> str:
    """How far the strongest attack on each preset got, and who promises nothing."""
    skills = {preset: skill(audit, preset) for preset in audit.presets}
    got = [f"{preset} {100 * max(found, 0.0):.0f} %" for preset, found in skills.items() if found is not None]
    silent = [preset for preset, claim in audit.claims.items() if claim == "none"]
    if not got:
        return _("No attack that rebuilds photos was run.")
    text = _("The strongest attack came this far from a guess to the photo: {got}", got=", ".join(got))
    if silent:
        text += " " + ngettext(
            "({presets} promises nothing about it)", "({presets} promise nothing about it)", len(silent),
            presets=enumerated(silent),
        )  # fmt: skip
    return f"{text}."


def skill(audit: JudgedAudit, preset: str) -> float | None:
    """MSE skill of the strongest reconstruction of a preset; None where none ran."""
    found = strongest(audit, preset)
    return None if found is None else found.skill.mean


def enumerated(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return _("{first} and {last}", first=", ".join(first), last=last) if first else last


def state_of(audit: JudgedAudit, preset: str) -> str:
    """Of one preset's promises: one of `goals.STATES`; *not promised* where it promises nothing about the photo."""
    state = judge.state_of(goal for goal in audit.goals if goal.preset == preset)
    return goals.NOT_PROMISED if state != goals.FAILED and audit.claims.get(preset) == "none" else state
