"""The audit as one HTML page that needs nothing else: verdict, figures, originals beside what was rebuilt, tables.

It reads on a phone, where each row of a table becomes a card, in light and dark, and without colours. Claims and
columns are the words of ``audit.json``, in English; what explains them is in the user's language.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesplit.audit import goals, legend, verdict
from securesplit.i18n import gettext as _
from securesplit.i18n import gettext_noop, language
from securesplit.text import rounded_up

Audit = dict[str, Any]

_STYLE = Path(__file__).with_name("page.css")
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


def render(audit: Audit, plots: Plots) -> str:
    """The page of a finished audit."""
    name = html.escape(audit["bundle"]["name"])
    title = _("Privacy audit of {name}", name=name)
    parts = [
        f"<h1>{title}</h1>",
        _verdict(audit),
        f"<p class='about'>{_about(audit)}</p>",
        f"<div class='cards'>{''.join(_card(audit, preset) for preset in audit['presets'])}</div>",
        _section(_("Originals beside the best reconstructions"), _GALLERY, _strips(plots.strips)),
        _section(_("Every goal"), _GOALS, _goals(audit)),
        _section(_("What the attacks are"), _ATTACKS, _legend(audit)),
        _section(_("Accuracy against leakage"), _FRONTIER, _plot(plots.frontier, _("frontier"))),
        _section(_("Picking out a photo"), _IDENTIFICATION, _plot(plots.identification, _("identification"))),
        *(_results(audit, kind) for kind in SECTIONS),
        _section(_("How goals are judged"), _JUDGED, ""),
    ]
    return (
        f'<!doctype html>\n<html lang="{language()}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>'
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>\n{chr(10).join(parts)}\n</main></body></html>\n"
    )


_GALLERY = gettext_noop(
    "Photos of people whose photos the attacker does not have; for each preset the mean photo with the same "
    "answer, which is no more than a guess, and what the strongest attack made of the releases."
)
_GOALS = gettext_noop(
    "Passed and failed are of promises. Not run: something that bears on the promise was not tried to its end. Not "
    "promised: the preset never said so; its figures are here to compare with."
)
_ATTACKS = gettext_noop(
    "The attacker is the worker itself: it has the network, knows the noise, keeps what it is sent and holds photos of "
    "its own, of other people."
)
_FRONTIER = gettext_noop("Up is more accurate, left is more private. A dot's area grows with what is sent.")
_IDENTIFICATION = gettext_noop(
    "How often the attacker names the right photo; the dashed line is proven for every attack, the dotted one is the "
    "attacker who sees the answer alone."
)
_JUDGED = gettext_noop(
    "Every figure stands beside its floor, what the answer alone gives. Intervals hold 95 % of what other photos would "
    "have shown. Beyond the floor, paired: the attack less its floor on the same photos (for A6 and A7 less 3 and 2 "
    "times the floor); where 0 lies within that interval, these photos cannot tell whether the goal is missed. A8 is "
    "judged by its interval as a whole. Where a certified bound alone implies 3 times label-only, the bound's own line "
    "stands for it."
)


def _verdict(audit: Audit) -> str:
    first, second = verdict.sentences(audit)
    state = audit["state"] if audit["valid"] else "void"
    return f"<p class='verdict {_class(state)}'><strong>{html.escape(first)}</strong> {html.escape(second)}</p>"


def _about(audit: Audit) -> str:
    photos = audit["photos"]
    return html.escape(
        _(
            "Bundle {id}. A {effort} audit on {name}: {own} photos of the attacker's, {victims} of other lesions to "
            "recognise, {rebuilt} of them to rebuild at {side} × {side} pixels; {seconds} s of attacks.",
            id=audit["bundle"]["id"],
            effort=audit["effort"],
            name=photos["from"],
            seconds=round(audit["seconds"]),
            **{key: photos[key] for key in ("own", "victims", "rebuilt", "side")},
        )
    )


_URGENCY = (goals.FAILED, goals.NOT_RUN, goals.PASSED, goals.NOT_PROMISED)
"""In this order goals are shown."""
_STATES = {
    goals.PASSED: gettext_noop("keeps its promises"),
    goals.FAILED: gettext_noop("breaks a promise"),
    goals.NOT_RUN: gettext_noop("not all promises were judged"),
    goals.NOT_PROMISED: gettext_noop("promises nothing about the photo"),
}


def _card(audit: Audit, preset: str) -> str:
    """One preset in a few figures."""
    state = verdict.state_of(audit, preset)
    rows = "".join(
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in _figures(audit, preset)
    )
    words = _STATES[state]
    says = f"<p class='{_class(state)}'>{html.escape(_(words))}</p>"
    return f"<section class='card'><h2>{html.escape(preset)}</h2>{says}<dl>{rows}</dl></section>"


def _figures(audit: Audit, preset: str) -> Iterable[tuple[str, str]]:
    mine = [r for r in audit["results"] if r.get("preset") == preset]
    skill = verdict.skill(audit, preset)
    yield (
        _("The photo, rebuilt"),
        _("not tried")
        if skill is None
        else _("{n} % of the way from a guess to the photo", n=f"{100 * max(skill, 0):.0f}"),
    )
    named = [r for r in mine if r["kind"] == "identification" and r["releases"] == 1]
    for r in named[-1:]:
        strongest, alone = (_percent(max(r[key]["mean"] for key in keys)) for keys in NAMINGS)
        words = _("{top1} % of the time ({label_only} % by the answer alone)", top1=strongest, label_only=alone)
        yield _("Named among {n} photos", n=f"{r['candidates']:,}"), words
        if r["certified_bound"] < 1:
            bound = _("{bound} % of the time, proven", bound=f"{100 * rounded_up(r['certified_bound'], 4):.3g}")
            yield _("Named by anybody, at most"), bound
    for r in (r for r in mine if r["kind"] == "summary"):
        yield _("Accuracy (AUC)"), "–" if r["auc"] is None else f"{r['auc']['mean']:.3f}"
        yield _("A request"), _("{n} bytes", n=f"{r['request_bytes']:,}")


NAMINGS = (("top1", "assigned"), ("label_only",))
"""The attacks of A6, one photo or a whole batch at a time, and their floor."""


def _percent(share: float) -> str:
    """Two digits, and no more than 100."""
    return f"{100 * share:.2g}" if share < 0.995 else "100"


def _section(title: str, words: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2><p>{html.escape(_(words))}</p>{content}</section>"


def _strips(strips: Iterable[tuple[str, bytes]]) -> str:
    figures = (
        f"<figure><figcaption>{html.escape(what)}</figcaption>{_image(png, what)}</figure>" for what, png in strips
    )
    return f"<div class='strips'>{''.join(figures)}</div>"


def _plot(plot: tuple[bytes, bytes], what: str) -> str:
    """Side by side, or one under the other on a phone."""
    wide, narrow = plot
    source = f'<source media="(max-width: 48rem)" srcset="{_data(narrow)}">'
    return f"<figure class='plot'><picture>{source}{_image(wide, what)}</picture></figure>"


def _goals(audit: Audit) -> str:
    """A table a preset, shut where nothing is to be done about it."""
    parts = []
    for preset in ("control", *audit["presets"]):
        mine = [goal for goal in audit["goals"] if goal["preset"] == preset]
        mine.sort(key=lambda goal: _URGENCY.index(goal["state"]))
        states = [goal["state"] for goal in mine]
        counts = ", ".join(f"{states.count(state)} {_(state)}" for state in goals.STATES if state in states)
        shown = " open" if {goals.FAILED, goals.NOT_RUN} & set(states) else ""
        name = _("positive control") if preset == "control" else preset
        parts.append(f"<details{shown}><summary>{html.escape(name)}: {counts}</summary>{goals_table(mine)}</details>")
    return "".join(parts)


def _legend(audit: Audit) -> str:
    """Every attack in words, with its part in this audit."""
    terms = []
    for attack, (name, what) in legend.ATTACKS.items():
        part = legend.part_in(attack, audit["results"])
        term = f"<dt id='{attack}'>{attack} {html.escape(_(name))} <span class='dim'>({html.escape(part)})</span></dt>"
        terms.append(f"{term}<dd>{html.escape(_(what))}</dd>")
    return f"<dl class='legend'>{''.join(terms)}</dl>"


def _results(audit: Audit, kind: str) -> str:
    title, columns = SECTIONS[kind]
    results = [r for r in audit["results"] if r["kind"] == kind]
    return _section(_(title), legend.SECTIONS[kind], table(columns, results)) if results else ""


Column = tuple[str, str]
"""(title, key of the result); a dot leads into a nested object."""

SECTIONS: dict[str, tuple[str, Sequence[Column]]] = {
    "summary": (
        gettext_noop("Presets"),
        (
            ("preset", "preset"),
            ("shape", "shape"),
            ("bytes", "request_bytes"),
            ("σ/C", "sigma_per_clip"),
            ("ε at δ = 1e-5", "epsilon"),
            ("AUC", "auc"),
            ("defence ms", "defence_ms"),
        ),
    ),
    "control": (
        gettext_noop("Positive control"),
        (("attack", "attack"), ("surface", "surface"), ("photos", "photos"), ("SSIM", "ssim"), ("floor", "ssim_floor")),
    ),
    "reconstruction": (
        gettext_noop("Reconstruction (A0 to A5)"),
        (
            ("preset", "preset"),
            ("attack", "attack"),
            ("what", "about"),
            ("photos", "photos"),
            ("seeds", "seeds"),
            ("skill", "skill"),
            ("p95", "skill.p95"),
            ("SSIM", "ssim"),
            ("above class mean", "ssim_gain"),
        ),
    ),
    "identification": (
        gettext_noop("Identification (A6)"),
        (
            ("preset", "preset"),
            ("N", "candidates"),
            ("k", "releases"),
            ("top-1", "top1"),
            ("top-5", "top5"),
            ("whole batch", "assigned"),
            ("label-only", "label_only"),
            ("certified bound", "certified_bound"),
        ),
    ),
    "lesion": (
        gettext_noop("Lesion re-identification (A7)"),
        (
            ("preset", "preset"),
            ("lesions", "lesions"),
            ("top-1", "top1"),
            ("top-5", "top5"),
            ("label-only", "label_only"),
        ),
    ),
    "attribute": (
        gettext_noop("Attributes (A8), AUC"),
        (
            ("preset", "preset"),
            ("attribute", "attribute"),
            ("release", "release"),
            ("label-only", "label_only"),
            ("answer-only", "answer_only"),
        ),
    ),
    "frontier": (
        gettext_noop("Frontier"),
        (
            ("preset", "preset"),
            ("shipped", "shipped"),
            ("ε", "epsilon"),
            ("σ/C", "sigma_per_clip"),
            ("AUC", "auc"),
            ("N", "candidates"),
            ("identified", "identified"),
            ("certified bound", "certified_bound"),
            ("A1 skill", "ridge_skill"),
        ),
    ),
    "not run": (gettext_noop("Not run"), (("preset", "preset"), ("attack", "attack"), ("why", "reason"))),
}


def table(columns: Sequence[Column], results: Iterable[dict[str, Any]]) -> str:
    """An HTML table, a row a result; an interval is shown as mean and range."""
    titles = [title for title, _key in columns]
    rows = [[html.escape(cell(r, key)) for _title, key in columns] for r in results]
    return _table(titles, rows)


def goals_table(judged: Iterable[dict[str, Any]]) -> str:
    """The goals of a preset as a table; an attack's name leads to what it is."""
    rows = []
    for goal in judged:
        claim = _ATTACK.sub(lambda found: f"<a href='#{found[0]}'>{found[0]}</a>", html.escape(goal["claim"]))
        word = goals.word(goal)
        state = f"<span class='{_class(goal['state'])}'>{html.escape(_(word))}</span>"
        figures = (_number(goal["value"]), _number(goal["limit"]), goals.difference(goal))
        rows.append([claim, *map(html.escape, figures), state])
    return _table(("claim", "measured", "limit", "beyond the floor, paired", "state"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML; each knows its column, for narrow screens."""
    labels = [html.escape(title) for title in titles]
    head = "".join(f"<th scope='col'>{label}</th>" for label in labels)
    body = "".join(
        "<tr>" + "".join(_cell(label, content) for label, content in zip(labels, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(label: str, content: str) -> str:
    return f"<td data-label='{label}'><span>{content}</span></td>" if content else "<td></td>"


def cell(result: dict[str, Any], key: str) -> str:
    """One figure as text; an interval is shown as mean and range."""
    if key == "about":
        known = ("floor", "own_photos", "releases", "by", "steps", "by_package")
        return ", ".join(f"{k.replace('_', ' ')} {result[k]}" for k in (*known, "cut_short") if k in result)
    value: Any = result
    for part in key.split("."):
        value = value[part]
    if isinstance(value, dict):
        return f"{value['mean']:.4f} ({value['low']:.4f} to {value['high']:.4f})"
    return _number(value)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _class(state: str) -> str:
    return state.replace(" ", "-")


def _data(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _image(content: bytes, what: str) -> str:
    return f'<img alt="{html.escape(what)}" src="{_data(content)}">'
