"""The audit as one HTML page that needs nothing else: verdict, figures, originals beside what was rebuilt, tables.

It reads on a phone, where each row of a table becomes a card, in light and dark, and without colours. Claims and
columns are the words of ``audit.json``, in English; what explains them is in the user's language. The template is
``templates/page.html``; every value is escaped, unless a function of this module made it.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup, escape

from securesplit import i18n, templates
from securesplit.audit import goals, registry, verdict
from securesplit.audit.attacks.identification import IdentificationResult
from securesplit.audit.goals import Goal
from securesplit.audit.judge import JudgedAudit
from securesplit.audit.measurements import SummaryResult
from securesplit.audit.results import CONTROL, NotRun, Result, cell, number
from securesplit.i18n import gettext as _
from securesplit.i18n import gettext_noop
from securesplit.text import rounded_up

_ATTACK = re.compile(r"\bA\d+\b")


@dataclass(frozen=True)
class Plots:
    """Pictures of a page, as PNG bytes.

    Attributes:
        frontier: side by side for a screen, and one under the other for a phone.
        identification: likewise.
        strips: rows of photos with what they are, the originals first.
    """

    frontier: tuple[bytes, bytes]
    identification: tuple[bytes, bytes]
    strips: Sequence[tuple[str, bytes]]


@functools.cache
def _environment() -> jinja2.Environment:
    made = templates.environment("securesplit.audit")
    made.filters |= {"data": _data, "css_class": _css_class}
    return made


def render(audit: JudgedAudit, plots: Plots) -> str:
    """The page of a finished audit."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            audit=audit,
            plots=plots,
            language=i18n.language(),
            verdict=verdict.sentences(audit),
            cards=[_card(audit, preset) for preset in audit.presets],
            goals_of_presets=[_goals_of(audit, preset) for preset in (CONTROL, *audit.presets)],
            legend=[
                {"id": spec.id, "name": spec.name, "what": spec.description, "part": _part_in(spec.id, audit)}
                for spec in registry.shown()
                if spec.name
            ],
            tables=[(kind, table(kind, results)) for kind in registry.kinds() if (results := audit.of(kind))],
        )
    )


def _part_in(attack: str, audit: JudgedAudit) -> str:
    """What an attack's part in an audit is, in words."""
    mine = [r for r in audit.of(Result) if r.attack == attack]
    if not mine:
        return _("not part of this audit")
    if any(not isinstance(r, NotRun) for r in mine):
        return _("in this report")
    return _("not run")


_URGENCY = (goals.FAILED, goals.NOT_RUN, goals.PASSED, goals.NOT_PROMISED)
"""In this order goals are shown."""
_STATES = {
    goals.PASSED: gettext_noop("keeps its promises"),
    goals.FAILED: gettext_noop("breaks a promise"),
    goals.NOT_RUN: gettext_noop("not all promises were judged"),
    goals.NOT_PROMISED: gettext_noop("promises nothing about the photo"),
}


def _card(audit: JudgedAudit, preset: str) -> dict[str, Any]:
    """One preset in a few figures."""
    state = verdict.state_of(audit, preset)
    words = _STATES[state]
    return {"preset": preset, "state": state, "words": _(words), "figures": list(_figures(audit, preset))}


def _figures(audit: JudgedAudit, preset: str) -> Iterator[tuple[str, str]]:
    skill = verdict.skill(audit, preset)
    yield (
        _("The photo, rebuilt"),
        _("not tried")
        if skill is None
        else _("{n} % of the way from a guess to the photo", n=f"{100 * max(skill, 0):.0f}"),
    )
    named = [r for r in audit.of(IdentificationResult, preset) if r.releases == 1]
    for r in named[-1:]:
        strongest, alone = _percent(r.strongest.mean), _percent(r.label_only.mean)
        words = _("{top1} % of the time ({label_only} % by the answer alone)", top1=strongest, label_only=alone)
        yield _("Named among {n} photos", n=f"{r.candidates:,}"), words
        if r.certified_bound < 1:
            bound = _("{bound} % of the time, proven", bound=f"{100 * rounded_up(r.certified_bound, 4):.3g}")
            yield _("Named by anybody, at most"), bound
    for summary in audit.of(SummaryResult, preset):
        yield _("Accuracy (AUC)"), "–" if summary.auc is None else f"{summary.auc.mean:.3f}"
        yield _("A request"), _("{n} bytes", n=f"{summary.request_bytes:,}")


def _percent(share: float) -> str:
    """Two digits, and no more than 100."""
    return f"{100 * share:.2g}" if share < 0.995 else "100"


def _goals_of(audit: JudgedAudit, preset: str) -> dict[str, Any]:
    """A table of a preset's goals, shut where nothing is to be done about it."""
    mine = sorted((g for g in audit.goals if g.preset == preset), key=lambda goal: _URGENCY.index(goal.state))
    states = [goal.state for goal in mine]
    return {
        "name": _("positive control") if preset == CONTROL else preset,
        "counts": ", ".join(f"{states.count(state)} {_(state)}" for state in goals.STATES if state in states),
        "open": bool({goals.FAILED, goals.NOT_RUN} & set(states)),
        "table": goals_table(mine),
    }


def table(kind: type[Result], results: Iterable[Result]) -> Markup:
    """An HTML table, a row a result; an interval is shown as mean and range."""
    rows = [[cell(result, attribute) for _title, attribute in kind.columns] for result in results]
    return _table([title for title, _attribute in kind.columns], rows)


def goals_table(judged: Iterable[Goal]) -> Markup:
    """The goals of a preset as a table; an attack's name leads to what it is."""
    rows = []
    for goal in judged:
        claim = Markup(_ATTACK.sub(r"<a href='#\g<0>'>\g<0></a>", str(escape(goal.claim))))  # noqa: S704  (escaped)
        state = Markup("<span class='{}'>{}</span>").format(_css_class(goal.state), _(goal.word))
        rows.append([claim, number(goal.value), number(goal.limit), goal.difference, state])
    return _table(("claim", "measured", "limit", "beyond the baseline, paired", "state"), rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table; text in it is escaped, markup is not."""
    made = _environment().get_template("table.html").render(titles=titles, rows=rows)
    return Markup(made)  # noqa: S704  (the template escapes)


def _css_class(state: str) -> str:
    return state.replace(" ", "-")


def _data(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
