"""The audit as one HTML page that needs nothing else: tables, plots, originals beside the best reconstructions."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

from securesplit.audit import goals

Audit = dict[str, Any]

_STYLE = """
p { overflow-wrap: anywhere; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left; }
.passed { color: #1a7f37; } .failed { color: #b2182b; font-weight: 600; } .not-run, .not-promised { color: #777; }
img { max-width: 100%; } h2 { margin-top: 2.2rem; } .void { background: #b2182b; color: #fff; padding: .5rem 1rem; }
"""


def render(audit: Audit, plots: dict[str, bytes]) -> str:
    """The page.

    Args:
        audit: with its goals.
        plots: ``frontier``, ``identification`` and ``gallery`` as PNG bytes.
    """
    photos = audit["photos"]
    why = "" if audit["valid"] else f"<p class='void'>Void: {html.escape(goals.void(audit))}.</p>"
    by_kind = {kind: [r for r in audit["results"] if r["kind"] == kind] for kind in SECTIONS}
    sections = [f"<h2>{title}</h2>{table(columns, by_kind[kind])}" for kind, (title, columns) in SECTIONS.items()]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Privacy audit of {html.escape(audit["bundle"]["name"])}</title><style>{_STYLE}</style>
<h1>Privacy audit of {html.escape(audit["bundle"]["name"])}</h1>
<p>Bundle {html.escape(audit["bundle"]["id"])}. A {audit["effort"]} audit on {html.escape(photos["from"])}:
{photos["own"]} photos of the attacker's, {photos["victims"]} of other lesions to recognise, {photos["rebuilt"]} of them
to rebuild at {photos["side"]} × {photos["side"]} pixels; {audit["seconds"]:.0f} s of attacks.</p>{why}
<h2>Verdict: {audit["state"]}</h2>{goals_table(audit["goals"])}
<h2>Originals beside the best reconstructions</h2>{_image(plots["gallery"], "originals and reconstructions")}
<h2>Accuracy against leakage</h2>{_image(plots["frontier"], "frontier")}
<h2>Identification and its certified bound</h2>{_image(plots["identification"], "identification")}
{"".join(sections)}
<p>Skill is 1 − MSE / MSE(class mean); a floor stands beside every figure; intervals are 95 % bootstrap over photos.
Beyond the floor stands the paired difference of the attack and its floor (for A6 and A7 times 3 and 2, for A8 the
label-only probe, for the AUC the goal): a goal that is missed with 0 in that interval is missed by no more than these
photos can tell. A8 is judged by that interval as a whole. Where a certified bound alone implies 3 × label-only, the
bound's own line stands for it.
A5 averages independent releases, as if the same-noise rule were off; with it, all diagnoses of a photo are one
release.</p>
</html>
"""


Column = tuple[str, str]
"""(title, key of the result); a dot leads into a nested object."""

SECTIONS: dict[str, tuple[str, Sequence[Column]]] = {
    "summary": (
        "Presets",
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
        "Positive control",
        (("attack", "attack"), ("surface", "surface"), ("photos", "photos"), ("SSIM", "ssim"), ("floor", "ssim_floor")),
    ),
    "reconstruction": (
        "Reconstruction (A0 to A5)",
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
        "Identification (A6)",
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
        "Lesion re-identification (A7)",
        (
            ("preset", "preset"),
            ("lesions", "lesions"),
            ("top-1", "top1"),
            ("top-5", "top5"),
            ("label-only", "label_only"),
        ),
    ),
    "attribute": (
        "Attributes (A8), AUC",
        (
            ("preset", "preset"),
            ("attribute", "attribute"),
            ("release", "release"),
            ("label-only", "label_only"),
            ("answer-only", "answer_only"),
        ),
    ),
    "frontier": (
        "Frontier",
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
    "not run": ("Not run", (("preset", "preset"), ("attack", "attack"), ("why", "reason"))),
}


def table(columns: Sequence[Column], results: Iterable[dict[str, Any]]) -> str:
    """An HTML table, a row a result; an interval is shown as mean and range."""
    head = "".join(f"<th>{html.escape(title)}</th>" for title, _ in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(r, key))}</td>" for _, key in columns) + "</tr>" for r in results
    )
    return f"<table><tr>{head}</tr>{rows}</table>" if rows else "<p>Nothing.</p>"


def goals_table(judged: Iterable[dict[str, Any]]) -> str:
    """The verdict as a table."""
    rows = []
    for goal in judged:
        value, limit = _number(goal["value"]), _number(goal["limit"])
        cells = (goal["preset"], goal["claim"], value, limit, goals.difference(goal))
        cells_html = "".join(f"<td>{html.escape(str(c))}</td>" for c in cells)
        rows.append(f"<tr>{cells_html}<td class='{goal['state'].replace(' ', '-')}'>{goals.word(goal)}</td></tr>")
    titles = ("preset", "claim", "measured", "limit", "beyond the floor, paired", "")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def cell(result: dict[str, Any], key: str) -> str:
    """One figure as text; an interval is shown as mean and range."""
    if key == "about":
        known = ("floor", "own_photos", "releases", "by", "steps")
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


def _image(content: bytes, what: str) -> str:
    return f'<img alt="{what}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'
