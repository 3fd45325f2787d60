"""A11: the gallery holds an altered copy of each photo: re-encoded, cropped, turned or brightened.

People keep and send copies, not pixels. The attacker computes the releases of its copies without noise and, as in A7
(`securesplit.audit.attacks.lesion.scores`), learns from photos of its own how far a copy lies from its original, by
covariances, counts where a release is one of few values, or compares by plain distance, whichever is best. A full audit
also undoes what may have been done to a copy: it looks at several views of each, and learns from its own photos which
of them come near the original, and how near. A second photo of the same lesion is A7.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.audit import goals, metrics
from securesplit.audit.attack import AttackSpec, Steps
from securesplit.audit.attacks import lesion
from securesplit.audit.attacks.identification import label_only
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import Goal, GoalRule, at_most
from securesplit.audit.metrics import Estimate
from securesplit.audit.observations import Observations, embed
from securesplit.audit.results import Column, NotRun, Result
from securesplit.audit.setting import Releases
from securesplit.i18n import gettext_noop
from securesplit.text import rounded_up

MOST_PHOTOS = 200
"""Of either side that are altered: each is run through the head once more for every alteration."""
UNDOING_SHARE = 0.05
"""Of an audit's time, which undoing may take for each alteration, of all presets together."""
JPEG_QUALITY = 75
CROPPED = 0.05
"""Of height and width, half at either edge."""
DEGREES = 10
BRIGHTER = 1.07

Pixels = NDArray[np.uint8]


def re_encoded(photo: Pixels) -> Pixels:
    """Saved as JPEG and read again."""
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(stream))


def cropped(photo: Pixels) -> Pixels:
    """The middle, scaled up again."""
    side = len(photo)
    edge = side * CROPPED / 2
    box = (edge, edge, side - edge, side - edge)
    return np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.BICUBIC, box=box))


def turned(photo: Pixels, degrees: float = DEGREES) -> Pixels:
    """About its middle; the corners show what is mirrored at the edges."""
    side, (wide, margin) = len(photo), _mirrored(photo)
    inner = slice(margin, margin + side)
    return np.asarray(wide.rotate(degrees, Image.Resampling.BICUBIC))[inner, inner]


def scaled(photo: Pixels, factor: float) -> Pixels:
    """About its middle; where it gets smaller, its edges show what is mirrored there."""
    side, (wide, margin) = len(photo), _mirrored(photo)
    edge = margin + side * (1 - 1 / factor) / 2
    box = (edge, edge, wide.width - edge, wide.height - edge)
    return np.asarray(wide.resize((side, side), Image.Resampling.BICUBIC, box=box))


def brighter(photo: Pixels, factor: float = BRIGHTER) -> Pixels:
    """Every value times `factor`, cut off at white."""
    return np.asarray(np.clip(np.rint(photo * factor), 0, 255), np.uint8)


def _mirrored(photo: Pixels) -> tuple[Image.Image, int]:
    """The photo with a border of what is mirrored at its edges, and the border's width."""
    margin = len(photo) // 5
    return Image.fromarray(np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")), margin


ALTERATIONS: Final[Mapping[str, Callable[[Pixels], Pixels]]] = {
    "re-encoded": re_encoded,
    "cropped": cropped,
    "turned": turned,
    "brighter": brighter,
}
"""``(side, side, 3) uint8`` to the same."""
UNDOING: Final[Sequence[Callable[[Pixels], Pixels]]] = (
    *(partial(turned, degrees=degrees) for degrees in (-DEGREES, -DEGREES / 2, DEGREES / 2, DEGREES)),
    *(partial(scaled, factor=factor) for factor in (1 - CROPPED, 1 + CROPPED)),
    *(partial(brighter, factor=factor) for factor in (1 / BRIGHTER, BRIGHTER)),
)
"""What the attacker does to each copy, likewise: which of them is right it learns from its own photos."""


@dataclass(frozen=True, kw_only=True)
class CopyResult(Result):
    """How often the altered copy of the photo was named.

    Args:
        alteration: one of `ALTERATIONS`.
        candidates: among how many.
        top1: how often it was the first guess.
        top5: how often among the first five.
        label_only: how often by the answer alone.
        paired_difference: of `top1` and `label_only`.
        certified_bound: that no attack exceeds.
        control: `top1` from the undefended preset; None where the bundle has none.
    """

    kind: ClassVar[str] = "copy"
    title: ClassVar[str] = gettext_noop("Altered copies (A11)")
    explanation: ClassVar[str] = gettext_noop(
        "How often the attacker names the right one of N altered copies of photos. The control is the same attack on "
        "releases without any protection."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("copy", "alteration"),
        ("N", "candidates"),
        ("top-1", "top1"),
        ("top-5", "top5"),
        ("label-only", "label_only"),
        ("certified bound", "certified_bound"),
        ("control", "control"),
    )

    alteration: str
    candidates: int
    top1: Estimate
    top5: Estimate
    label_only: Estimate
    paired_difference: Estimate = field(metadata={"json": "excess"})
    certified_bound: float
    control: Estimate | None


@dataclass(frozen=True)
class Copies:
    """Noise-free releases of altered photos.

    Args:
        grids: ``(n, views, *shape)`` integers by preset, the attacker's photos first; the first view is the copy as it
            is, the others, if any, are as `UNDOING` makes them; of releases of up to `lesion.MAX_NUMBERS` numbers.
        auxiliary: how many are the attacker's.
        cut_short: that there was no time for what this audit should have undone; empty where there was.
    """

    grids: Mapping[str, NDArray[np.integer]]
    auxiliary: int
    cut_short: str


def run(context: AuditContext, preset: str, alteration: str) -> CopyResult:
    """One alteration."""
    observations = context.observations[preset]
    copies = _copies(context, alteration)
    named = _named(observations, copies, context.noise_seeds(preset))
    candidates = len(named["top1"])
    rate = partial(metrics.rate, clusters=context.target_clusters(candidates))
    return CopyResult(
        preset=preset,
        attack="A11",
        cut_short=copies.cut_short,
        alteration=alteration,
        candidates=candidates,
        top1=rate(named["top1"]),
        top5=rate(named["top5"]),
        label_only=rate(named["label_only"]),
        paired_difference=rate(named["top1"], less=named["label_only"]),
        certified_bound=rounded_up(observations.loss.identification_bound(candidates), 6),
        control=context.keep(("copies control", alteration), lambda: _control(context, copies)),
    )


def _control(context: AuditContext, copies: Copies) -> Estimate | None:
    """From the undefended preset, the same for all presets."""
    undefended = context.observations.get(goals.UNDEFENDED)
    if undefended is None:
        return None
    found = _named(undefended, copies, context.profile.draws[:1])["top1"]
    return metrics.rate(found, context.target_clusters(len(found)))


def _copies(context: AuditContext, alteration: str) -> Copies:
    """Made once for all presets."""
    auxiliary, targets = (
        side.pixels[:MOST_PHOTOS] for side in (context.collection.auxiliary, context.collection.targets)
    )

    def made() -> Copies:
        altered = [ALTERATIONS[alteration](photo) for photo in (*auxiliary, *targets)]
        wanted = UNDOING if context.profile.undoes_alterations else ()
        undoing = wanted if _is_time_for(wanted, context, altered) else ()
        views = (view for copy in altered for view in (copy, *(undo(copy) for undo in undoing)))
        grids = embed(context.bundle, views)
        by_photo = {name: grid.reshape(-1, 1 + len(undoing), *grid.shape[1:]) for name, grid in grids.items()}
        kept = {
            name: grid if grid[0, 0].size <= lesion.MAX_NUMBERS else grid[:, :1].copy()
            for name, grid in by_photo.items()
        }
        return Copies(kept, len(auxiliary), "before it undid alterations" if len(undoing) < len(wanted) else "")

    return context.keep(("copies", alteration), made)


def _is_time_for(
    undoing: Sequence[Callable[[Pixels], Pixels]], context: AuditContext, altered: Sequence[Pixels]
) -> bool:
    """Whether these views of all copies go through the head in `UNDOING_SHARE`, by how long those of one take."""
    head = context.bundle.open_head(threads=2)
    started_s = time.monotonic()
    for undo in undoing:
        head(undo(altered[0]))
    return len(altered) * (time.monotonic() - started_s) <= UNDOING_SHARE * 60 * context.profile.minutes


def _named(observations: Observations, copies: Copies, seeds: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """How often each copy was named rightly, over the draws of the noise."""
    grids = copies.grids[observations.preset.spec.base]
    views = [observations.noise_free(grids[:, view]) for view in range(grids.shape[1])]
    own, galleries = (
        [view[part] for view in views] for part in (slice(copies.auxiliary), slice(copies.auxiliary, None))
    )
    answers = observations.says_malignant(observations.answer(galleries[0]))
    truth = np.arange(len(answers))
    draws = []
    for seed in seeds:
        observed, logits = observations.observe(seed=seed)
        ways = scores(
            galleries,
            observed[: len(truth)],
            observations.surface.sigma,
            (own, observations.auxiliary[: copies.auxiliary]),
        )
        best = max(ways, key=lambda way: float(metrics.top_k(way, truth, 5).mean()))
        seen = observations.says_malignant(logits[: len(truth)])
        draws.append((metrics.top_k(best, truth, 1), metrics.top_k(best, truth, 5), label_only(answers, seen, truth)))
    return dict(zip(("top1", "top5", "label_only"), np.mean(draws, axis=0), strict=True))


def scores(
    galleries: Sequence[Releases], observed: Releases, sigma: float, own: tuple[Sequence[Releases], Releases]
) -> list[NDArray[np.float64]]:
    """``(m, n)`` scores, higher is likelier the original of the copy, one matrix for each way to compare.

    Args:
        galleries: ``(n, *shape)`` noise-free releases of the candidates' copies, one for each view of them.
        observed: ``(m, *shape)`` noisy releases.
        sigma: of the noise, embedding units.
        own: of the attacker's own copies, likewise by view, and of their originals.
    """
    views, originals = own
    flat, flat_originals = np.stack([lesion.flat(view) for view in views]), lesion.flat(originals)
    errors = np.square(flat - flat_originals).mean(2)  # (views, photos)
    nearest = int(errors.mean(1).argmin())
    ways = [
        way
        for view in sorted({0, nearest})
        for way in lesion.scores(galleries[view], observed, sigma, (views[view], originals))
    ]
    if len(views) > 1 and len(originals) >= lesion.MIN_PAIRS:
        ways.append(_of_any_view(galleries, observed, sigma, (flat, flat_originals), errors.argmin(0)))
    return ways


def _of_any_view(
    galleries: Sequence[Releases],
    observed: Releases,
    sigma: float,
    own: tuple[NDArray[np.float32], NDArray[np.float32]],
    right: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Ln of the likelihood over all views, weighted by how often each was the right one.

    Args:
        galleries: as of `scores`.
        observed: likewise.
        sigma: likewise.
        own: the attacker's own views ``(views, photos, numbers)`` and originals ``(photos, numbers)``.
        right: which view of each of them came nearest its original.
    """
    from scipy.special import logsumexp

    views, originals = own
    left = views[right, np.arange(len(right))].astype(np.float64) - originals
    covariance = lesion.covariance(left) + sigma**2 * np.eye(left.shape[1])
    weights = np.log((np.bincount(right, minlength=len(views)) + 1) / (len(right) + len(views)))
    everything = lesion.flat(np.concatenate(galleries))
    by_view = 0.5 * lesion.mahalanobis(everything, lesion.flat(observed), covariance)
    return np.asarray(logsumexp(by_view.reshape(len(observed), len(views), -1) + weights[:, None], axis=1))


def judge(preset: str, results: Sequence[CopyResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """Against the certified bound, where it says anything."""
    for r in results:
        if r.certified_bound < 1:
            claim = f"A11 {r.alteration} copy among {r.candidates}, certified bound"
            goal = at_most(preset, claim, r.top1.low, r.certified_bound)
            yield replace(goal, met=None) if goal.met and r.cut_short else goal


def _steps(context: AuditContext, preset: str) -> Steps:
    return {alteration: partial(run, context, preset, alteration) for alteration in ALTERATIONS}


SPEC = AttackSpec(
    id="A11",
    name=gettext_noop("Altered copies"),
    description=gettext_noop("Picks out the photo where the attacker holds a cropped, turned or brighter copy of it."),
    result_type=CopyResult,
    steps=_steps,
    goals=(GoalRule(judge, beyond_picture=True),),
)
