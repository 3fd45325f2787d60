"""The audit's pictures, as PNG bytes: the frontier, identification against its bound, originals beside the rebuilt."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.goals import best
from securesplit.privacy.metrics import Photos

Audit = dict[str, Any]
_COLOURS = {"none": "#b2182b", "compact": "#e08214", "private": "#2166ac"}
_FLOOR = "#777777"


def figure(width: float, height: float, columns: int = 1) -> tuple[Any, list[Any]]:
    """A figure without a display, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure((width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made, list(np.ravel(made.subplots(1, columns)))


def png(made: Any) -> bytes:
    """The figure as PNG bytes."""
    stream = io.BytesIO()
    made.savefig(stream, dpi=110)
    return stream.getvalue()


def frontier(audit: Audit) -> bytes:
    """AUC against identification and against reconstruction; a marker's size is the request's."""
    made, (left, right) = figure(10, 4, 2)
    sizes = {r["preset"]: r["request_bytes"] for r in audit["results"] if r["kind"] == "summary"}
    for preset in audit["presets"]:
        points = [r for r in audit["results"] if r["kind"] == "frontier" and r["preset"] == preset and r["auc"]]
        for r in sorted(points, key=lambda r: r["epsilon"] or 0):
            size = 25 + 25 * np.log2(sizes[preset] / 64)
            style = {"color": _colour(preset), "s": size, "marker": "o" if r["shipped"] else ".", "alpha": 0.8}
            for axes, value in ((left, r["identified"]["mean"]), (right, r["ridge_skill"]["mean"])):
                axes.scatter(value, r["auc"]["mean"], **style, label=preset if r["shipped"] else None)
                if r["epsilon"] and not r["shipped"]:
                    axes.annotate(f"ε {r['epsilon']:.3g}", (value, r["auc"]["mean"]), fontsize=7)
    left.set(xlabel="picked out of the gallery (A6, top-1)", ylabel="AUC of the answer", xscale="symlog")
    left.set_xscale("symlog", linthresh=0.01)
    right.set(xlabel="MSE skill over the class mean (A1)", ylabel="AUC of the answer")
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, title="size: bytes on the wire", title_fontsize=7)
    return png(made)


def identification(audit: Audit) -> bytes:
    """A6 against the number of candidates and of releases, with the certified bound and the label-only floor."""
    made, axes = figure(10, 4, 2)
    results = [r for r in audit["results"] if r["kind"] == "identification"]
    for preset in audit["presets"]:
        mine = [r for r in results if r["preset"] == preset]
        single = [r for r in mine if r["releases"] == 1]
        _with_bound(axes[0], preset, single, "candidates")
        most = max((r["candidates"] for r in mine), default=0)
        averaged = [r for r in mine if r["candidates"] == most]
        if len(averaged) > 1:
            _with_bound(axes[1], preset, averaged, "releases")
            axes[1].set_title(f"among {most}", fontsize=9)
    axes[0].set(xlabel="candidates N", ylabel="identified (A6, top-1)", xscale="log", yscale="log", title="one release")
    axes[1].set(xlabel="independent releases k (rule off)", xscale="log", yscale="log")
    for a in axes:
        if a.get_legend_handles_labels()[0]:
            a.legend(fontsize=7)
    return png(made)


def _with_bound(axes: Any, preset: str, results: list[dict[str, Any]], along: str) -> None:
    x = [r[along] for r in results]
    top = np.array([r["top1"]["mean"] for r in results])
    low, high = (np.array([r["top1"][side] for r in results]) for side in ("low", "high"))
    spread = np.abs(np.array([top - low, high - top]))
    axes.errorbar(x, top, spread, color=_colour(preset), marker="o", ms=4, label=f"{preset}, attack")
    if all(r["certified_bound"] < 1 for r in results):
        axes.plot(x, [r["certified_bound"] for r in results], "--", color=_colour(preset), label=f"{preset}, bound")
    if preset == "private" or len(results) > 1:
        floor = [r["label_only"]["mean"] for r in results]
        axes.plot(x, floor, ":", color=_FLOOR, lw=1, label=None if axes.lines[:-1] == [] else "label-only")


def gallery(audit: Audit, originals: Photos, pictures: Path) -> bytes:
    """Originals in the first row, then each preset's class mean and its best reconstructions."""
    rows = [("original", originals), *_rebuilt_rows(audit, pictures)]
    columns = len(originals)
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


def _rebuilt_rows(audit: Audit, pictures: Path) -> list[tuple[str, NDArray[Any]]]:
    control = next(r for r in audit["results"] if r["kind"] == "control")
    rows = [(f"positive control\nSSIM {control['ssim']['mean']:.2f}", _load(pictures, control))]
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
