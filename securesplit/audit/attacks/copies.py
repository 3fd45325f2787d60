"""A11: the gallery holds an altered copy of each photo: re-encoded, cropped, turned or brightened.

People keep and send copies, not pixels. The attacker computes the releases of its copies without noise and learns from
photos of its own how far a copy lies from its original (`securesplit.audit.attacks.likeness`). A full audit looks at
several views of each copy, of which some undo what was done to it. A second photo of the same lesion is A7.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.audit import goals, metrics
from securesplit.audit.attack import AttackSpec, Steps
from securesplit.audit.attacks import likeness, views
from securesplit.audit.attacks.identification import label_only
from securesplit.audit.attacks.views import Pixels
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import Goal, GoalRule, at_most
from securesplit.audit.metrics import Estimate
from securesplit.audit.observations import Observations
from securesplit.audit.results import Column, NotRun, Result
from securesplit.i18n import gettext_noop
from securesplit.text import rounded_up

MOST_PHOTOS = 200
"""Of either side that are altered: each is run through the head once more for every alteration."""
JPEG_QUALITY = 75
CROPPED = views.SCALED
"""Of height and width, half at either edge."""


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


ALTERATIONS: Final[Mapping[str, Callable[[Pixels], Pixels]]] = {
    "re-encoded": re_encoded,
    "cropped": cropped,
    "turned": views.turned,
    "brighter": views.brighter,
}
"""``(side, side, 3) uint8`` to the same."""


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
        looked: at views of them, the attacker's photos first.
        auxiliary: how many are the attacker's.
    """

    looked: views.Looked
    auxiliary: int


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
        cut_short=copies.looked.cut_short,
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
        altered = np.stack([ALTERATIONS[alteration](photo) for photo in (*auxiliary, *targets)])
        return Copies(views.look(context, altered), len(auxiliary))

    return context.keep(("copies", alteration), made)


def _named(observations: Observations, copies: Copies, seeds: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """How often each copy was named rightly, over the draws of the noise."""
    grids = copies.looked.grids[observations.preset.spec.base]
    by_view = [observations.noise_free(grids[:, view]) for view in range(grids.shape[1])]
    own, galleries = (
        [view[part] for view in by_view] for part in (slice(copies.auxiliary), slice(copies.auxiliary, None))
    )
    answers = observations.says_malignant(observations.answer(galleries[0]))
    truth = np.arange(len(answers))
    draws = []
    for seed in seeds:
        observed, logits = observations.observe(seed=seed)
        ways = likeness.scores_of_views(
            galleries,
            observed[: len(truth)],
            observations.surface.sigma,
            (own, observations.auxiliary[: copies.auxiliary]),
        )
        best = max(ways, key=lambda way: float(metrics.top_k(way, truth, 5).mean()))
        seen = observations.says_malignant(logits[: len(truth)])
        draws.append((metrics.top_k(best, truth, 1), metrics.top_k(best, truth, 5), label_only(answers, seen, truth)))
    return dict(zip(("top1", "top5", "label_only"), np.mean(draws, axis=0), strict=True))


def judge(preset: str, results: Sequence[CopyResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """Against the certified bound, where it says anything."""
    for r in results:
        if r.certified_bound < 1:
            claim = f"A11 {r.alteration} copy among {r.candidates}, certified bound"
            goal = at_most(preset, claim, r.top1.low, r.certified_bound)
            yield views.open_if_cut_short(goal, r)


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
