"""The audit's pictures, as PNG bytes: the frontier, identification against its bound, originals beside the rebuilt."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.attacks.guesses import CLASS_MEAN
from securesplit.audit.attacks.identification import IdentificationResult
from securesplit.audit.goals import MAX_SKILL
from securesplit.audit.judge import strongest
from securesplit.audit.measurements import FrontierResult, SummaryResult
from securesplit.audit.metrics import Photos
from securesplit.audit.positive_control import ControlResult
from securesplit.audit.reconstruction import ReconstructionResult
from securesplit.audit.results import Audit

_COLOURS = {"none": "#b2182b", "compact": "#e08214", "certified": "#2166ac"}
_BASELINE = "#777777"


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
    for summary in audit.of(SummaryResult):
        points = [r for r in audit.of(FrontierResult, summary.preset) if r.auc]
        for r in sorted(points, key=lambda r: r.epsilon or 0):
            _point(left, r, r.identified.mean, summary.request_bytes)
            _point(right, r, r.ridge_skill.mean, summary.request_bytes)
    left.set(xlabel="picked out of the gallery (A6, top-1)", ylabel="AUC of the answer", xscale="log")
    _percent(left.xaxis)
    right.set(xlabel="MSE skill over the class mean (A1)", ylabel="AUC of the answer")
    right.set_xlim(min(-0.06, right.get_xlim()[0]), max(0.1, right.get_xlim()[1]))  # noise around 0 is no frontier
    right.axvline(MAX_SKILL, color=_BASELINE, ls=":", lw=1, label="goal")
    _percent(right.xaxis)
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, title="area: bytes on the wire", title_fontsize=7, markerscale=0.5)
    return png(made)


def _point(axes: Any, r: FrontierResult, leakage: float, request_bytes: int) -> None:
    """One point of the frontier; that of the shipped noise is large and named."""
    auc = r.auc.mean if r.auc else float("nan")
    size = 5 * np.sqrt(request_bytes) if r.shipped else 12
    axes.scatter(leakage, auc, color=_colour(r.preset), s=size, alpha=0.7, label=r.preset if r.shipped else None)
    if r.epsilon and not r.shipped:
        axes.annotate(f"ε {r.epsilon:.3g}", (leakage, auc), fontsize=7, xytext=(5, -3), textcoords="offset points")


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
    """A6 against N, k and ε, with the label-only baseline and, where it says anything, the certified bound."""
    made, axes = figure(13, 4, 3, stacked=stacked)
    most = max((r.candidates for r in audit.of(IdentificationResult)), default=0)
    for preset in audit.presets:
        mine = audit.of(IdentificationResult, preset)
        single, largest = [r for r in mine if r.releases == 1], [r for r in mine if r.candidates == most]
        if single:
            _attack(axes[0], preset, single, "candidates", "top1")
        if len(largest) > 1:
            _attack(axes[1], preset, largest, "releases", "top1")
        points = sorted((r for r in audit.of(FrontierResult, preset) if r.epsilon), key=lambda r: r.epsilon or 0)
        if points:
            _attack(axes[2], preset, points, "epsilon", "identified")
        if preset == audit.presets[-1]:
            _baseline(axes[0], single, "candidates")
            _baseline(axes[1], largest, "releases")
    axes[0].set(xlabel="candidates N", ylabel="identified (A6, top-1)", title="one release")
    axes[1].set(xlabel="independent releases k (same-noise rule off)", title=f"among {most}")
    axes[2].set(xlabel="ε of one release", title="attack and certified bound")
    for a in axes:
        a.set(xscale="log", yscale="log")
        _percent(a.yaxis)
        if a.get_legend_handles_labels()[0]:
            a.legend(fontsize=7)
    return png(made)


def _attack(
    axes: Any, preset: str, results: Sequence[IdentificationResult | FrontierResult], along: str, rate: str
) -> None:
    """The measured rate with its interval, and the bound that it may not pass."""
    x, rates = [getattr(r, along) for r in results], [getattr(r, rate) for r in results]
    around = [[r.mean - r.low for r in rates], [r.high - r.mean for r in rates]]
    style = {"color": _colour(preset), "marker": "o", "ms": 4}
    axes.errorbar(x, [r.mean for r in rates], np.abs(around), **style, label=f"{preset}, attack")
    bounds = [r.certified_bound for r in results]
    if any(bound < 1 for bound in bounds):
        axes.plot(x, bounds, "--", color=_colour(preset), label=f"{preset}, certified bound")


def _baseline(axes: Any, results: Sequence[IdentificationResult], along: str) -> None:
    if results:
        x, means = [getattr(r, along) for r in results], [r.label_only.mean for r in results]
        axes.plot(x, means, ":", color=_BASELINE, lw=1, label="label-only")


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
    controls = audit.of(ControlResult)[:1]
    rows = [(f"positive control\nSSIM {r.ssim.mean:.2f}", _load(pictures, r.picture)) for r in controls]
    for preset in audit.presets:
        means = [r for r in audit.of(ReconstructionResult, preset) if r.baseline == CLASS_MEAN]
        for r, name in [*((mean, CLASS_MEAN) for mean in means), (strongest(audit, preset), "best attack")]:
            if r is not None:
                title = f"{preset}, {name}\n{r.attack}, SSIM {r.ssim.mean:.2f}"
                rows.append((title, _load(pictures, r.picture)))
    return rows


def _load(pictures: Path, picture: str) -> NDArray[Any]:
    with np.load(pictures / picture) as stored:
        return np.asarray(stored["rebuilt"])


def _colour(preset: str) -> str:
    return _COLOURS.get(preset, "#4d9221")
