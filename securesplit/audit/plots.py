"""The audit's pictures, as PNG bytes: the frontier, identification against its bound, originals beside the rebuilt."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.goals import MAX_SKILL, best
from securesplit.audit.metrics import Photos

Audit = dict[str, Any]
_COLOURS = {"none": "#b2182b", "compact": "#e08214", "private": "#2166ac"}
_FLOOR = "#777777"


NARROW = (4.2, 3.6)
"""Inches of a plot on a phone."""


def figure(width: float, height: float, columns: int = 1, *, stacked: bool = False) -> tuple[Any, list[Any]]:
    """A figure without a display, and its axes, side by side or one under the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (NARROW[0], NARROW[1] * columns) if stacked else (width, height)
    made = Figure(size, layout="constrained")
    FigureCanvasAgg(made)
    return made, list(np.ravel(made.subplots(columns, 1) if stacked else made.subplots(1, columns)))


def png(made: Any) -> bytes:
    """The figure as PNG bytes."""
    stream = io.BytesIO()
    made.savefig(stream, dpi=110)
    return stream.getvalue()


def frontier(audit: Audit, *, stacked: bool = False) -> bytes:
    """AUC against identification and against reconstruction; a marker's area grows with the request."""
    made, (left, right) = figure(10, 4, 2, stacked=stacked)
    sizes = {r["preset"]: r["request_bytes"] for r in audit["results"] if r["kind"] == "summary"}
    presets = [preset for preset in audit["presets"] if preset in sizes]
    for preset in presets:
        points = [r for r in audit["results"] if r["kind"] == "frontier" and r["preset"] == preset and r["auc"]]
        for r in sorted(points, key=lambda r: r["epsilon"] or 0):
            size = 5 * np.sqrt(sizes[preset])
            style = {"color": _colour(preset), "s": size if r["shipped"] else 12, "alpha": 0.7}
            for axes, value in ((left, r["identified"]["mean"]), (right, r["ridge_skill"]["mean"])):
                axes.scatter(value, r["auc"]["mean"], **style, label=preset if r["shipped"] else None)
                if r["epsilon"] and not r["shipped"]:
                    place = {"xytext": (5, -3), "textcoords": "offset points"}
                    axes.annotate(f"ε {r['epsilon']:.3g}", (value, r["auc"]["mean"]), fontsize=7, **place)
    left.set(xlabel="picked out of the gallery (A6, top-1)", ylabel="AUC of the answer", xscale="log")
    _percent(left.xaxis)
    right.set(xlabel="MSE skill over the class mean (A1)", ylabel="AUC of the answer")
    right.set_xlim(min(-0.06, right.get_xlim()[0]), max(0.1, right.get_xlim()[1]))  # noise around 0 is no frontier
    right.axvline(MAX_SKILL, color=_FLOOR, ls=":", lw=1, label="goal")
    _percent(right.xaxis)
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, title="area: bytes on the wire", title_fontsize=7, markerscale=0.5)
    return png(made)


def _percent(axis: Any) -> None:
    """Ticks as percentages; on a logarithmic axis also between the powers of ten where they are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0) if high > 10 * low else range(1, 10)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_minor_locator(LogLocator(subs=()))


def identification(audit: Audit, *, stacked: bool = False) -> bytes:
    """A6 against N, k and ε, with the label-only floor and, where it says anything, the certified bound."""
    made, axes = figure(13, 4, 3, stacked=stacked)
    results = [r for r in audit["results"] if r["kind"] == "identification"]
    most = max((r["candidates"] for r in results), default=0)
    for preset in audit["presets"]:
        mine = [r for r in results if r["preset"] == preset]
        _attack(axes[0], preset, [r for r in mine if r["releases"] == 1], "candidates", "top1")
        averaged = [r for r in mine if r["candidates"] == most]
        if len(averaged) > 1:
            _attack(axes[1], preset, averaged, "releases", "top1")
        points = [r for r in audit["results"] if r["kind"] == "frontier" and r["preset"] == preset and r["epsilon"]]
        points.sort(key=lambda r: float(r["epsilon"]))
        if points:
            _attack(axes[2], preset, points, "epsilon", "identified")
    _floor(axes[0], [r for r in results if r["releases"] == 1 and r["preset"] == audit["presets"][-1]], "candidates")
    _floor(axes[1], [r for r in results if r["candidates"] == most and r["preset"] == audit["presets"][-1]], "releases")
    axes[0].set(xlabel="candidates N", ylabel="identified (A6, top-1)", title="one release")
    axes[1].set(xlabel="independent releases k (same-noise rule off)", title=f"among {most}")
    axes[2].set(xlabel="ε of one release", title="attack and certified bound")
    for a in axes:
        a.set(xscale="log", yscale="log")
        _percent(a.yaxis)
        if a.get_legend_handles_labels()[0]:
            a.legend(fontsize=7)
    return png(made)


def _attack(axes: Any, preset: str, results: list[dict[str, Any]], along: str, rate: str) -> None:
    """The measured rate with its interval, and the bound that it may not pass."""
    x = [r[along] for r in results]
    mean, low, high = (np.array([r[rate][key] for r in results]) for key in ("mean", "low", "high"))
    colour = _colour(preset)
    axes.errorbar(x, mean, np.abs([mean - low, high - mean]), color=colour, marker="o", ms=4, label=f"{preset}, attack")
    if any(r["certified_bound"] < 1 for r in results):
        axes.plot(x, [r["certified_bound"] for r in results], "--", color=colour, label=f"{preset}, certified bound")


def _floor(axes: Any, results: list[dict[str, Any]], along: str) -> None:
    means = [r["label_only"]["mean"] for r in results]
    if means:
        axes.plot([r[along] for r in results], means, ":", color=_FLOOR, lw=1, label="label-only")


Rows = list[tuple[str, NDArray[Any]]]
"""What they are, and photos ``(n, side, side, 3)``."""


def rows(audit: Audit, originals: Photos, pictures: Path) -> Rows:
    """The originals, then each preset's class mean and its best reconstructions of them."""
    return [("original", originals), *_rebuilt_rows(audit, pictures)]


STRIP_SIDE, STRIP_GAP = 64, 3  # pixels of a photo, and between photos


def strip(photos: NDArray[Any], count: int) -> bytes:
    """Photos side by side as PNG bytes, with room for `count`; all strips of a page are of one width."""
    from PIL import Image

    whole = Image.new("RGBA", (count * (STRIP_SIDE + STRIP_GAP) - STRIP_GAP, STRIP_SIDE))
    for number, photo in enumerate(photos[:count]):
        pixels = np.rint(255 * np.clip(photo.astype(np.float32), 0, 1)).astype(np.uint8)
        image = Image.fromarray(pixels).resize((STRIP_SIDE, STRIP_SIDE), Image.Resampling.BICUBIC)
        whole.paste(image, (number * (STRIP_SIDE + STRIP_GAP), 0))
    stream = io.BytesIO()
    whole.save(stream, "PNG")
    return stream.getvalue()


def gallery(rows: Rows) -> bytes:
    """All rows in one picture."""
    columns = len(rows[0][1])
    made, _ = figure(1.15 * columns + 1.8, 1.2 * len(rows))
    made.clear()
    grid = made.subplots(len(rows), columns, squeeze=False)
    for line, (label, photos) in zip(grid, rows, strict=True):
        for axes in line:
            axes.axis("off")
        for axes, photo in zip(line, photos, strict=False):
            axes.imshow(np.clip(photo.astype(np.float32), 0, 1), interpolation="nearest")
        line[0].text(-0.08, 0.5, label, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
    return png(made)


def _rebuilt_rows(audit: Audit, pictures: Path) -> Rows:
    controls = [r for r in audit["results"] if r["kind"] == "control"][:1]
    rows = [(f"positive control\nSSIM {r['ssim']['mean']:.2f}", _load(pictures, r)) for r in controls]
    for preset in audit["presets"]:
        mine = [r for r in audit["results"] if r.get("preset") == preset and r["kind"] == "reconstruction"]
        means = [r for r in mine if r["attack"] == "A0" and r["floor"] == "class mean"]
        strongest = best(mine, "skill")
        for r, name in [*((m, "class mean") for m in means), (strongest, "best attack")]:
            if r is not None:
                title = f"{preset}, {name}\n{r['attack']}, SSIM {r['ssim']['mean']:.2f}"
                rows.append((title, _load(pictures, r)))
    return rows


def _load(pictures: Path, result: dict[str, Any]) -> NDArray[Any]:
    with np.load(pictures / result["picture"]) as stored:
        return np.asarray(stored["rebuilt"])


def _colour(preset: str) -> str:
    return _COLOURS.get(preset, "#4d9221")
