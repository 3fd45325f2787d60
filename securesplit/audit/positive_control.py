"""The positive control: the same code must rebuild photos from the undefended stem, or the audit is void.

By A1 at the stem's own resolution and, where searches are part of the audit, by the very search of A2 and A4 and by
that of A9 at theirs. A9 shows only what its generator can draw, so that less is asked of it; but it begins at the mean
of its prior, so that neither an untrained generator nor a search that finds nothing passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from securesplit.audit import baselines, metrics, patches
from securesplit.audit.attack import Step
from securesplit.audit.attacks import generative, graph, ridge, search
from securesplit.audit.attacks.optimise import Search, Searcher
from securesplit.audit.context import AuditContext, as_photos
from securesplit.audit.metrics import Estimate, Photos
from securesplit.audit.results import CONTROL, OMITTED, Column, NotRun, Result
from securesplit.audit.setting import AttackerKnowledge, Releases, Surface
from securesplit.i18n import gettext_noop

AUXILIARY, TARGETS = 48, 16
"""Photos of the positive control."""
NEEDED_SSIM = 0.9
NEEDED_SSIM_GENERATED = 0.6
"""Of A9; the mean photo has less, and so has what an untrained generator draws."""
NAME = "positive control"


@dataclass(frozen=True, kw_only=True)
class ControlResult(Result):
    """What an attack got from the undefended stem.

    Args:
        surface: what it attacked.
        photos: how many.
        ssim: structural similarity of the rebuilt ones.
        baseline_ssim: of the mean photo.
        mse: mean squared error.
        needed: the SSIM that must be reached.
        picture: file of the first reconstructions.
        search_steps: of Adam.
    """

    kind: ClassVar[str] = CONTROL
    title: ClassVar[str] = gettext_noop("Positive control")
    explanation: ClassVar[str] = gettext_noop(
        "The same attacks on a network without any protection. They must rebuild photos there, or the audit is void. "
        "SSIM is how alike two pictures look, 1 is the same."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("attack", "attack"),
        ("surface", "surface"),
        ("photos", "photos"),
        ("SSIM", "ssim"),
        ("baseline", "baseline_ssim"),
    )

    surface: str
    photos: int
    ssim: Estimate
    baseline_ssim: float = field(metadata={"json": "ssim_floor"})
    mse: float
    needed: float
    picture: str
    search_steps: int | None = field(default=None, metadata={"json": "steps"} | OMITTED)


class Stem:
    """Photos at a resolution beside what the undefended stem makes of them.

    Args:
        context: the audit.
        side: of the photos, pixels; None: the stem's own.
    """

    def __init__(self, context: AuditContext, side: int | None = None) -> None:
        auxiliary = context.collection.auxiliary.pixels[:AUXILIARY]
        targets = context.collection.targets.pixels[:TARGETS]
        maps = graph.stem_maps(context.head, auxiliary)
        self.seen: Releases = graph.stem_maps(context.head, targets)
        side = side or maps.shape[1]
        self.known = AttackerKnowledge(as_photos(auxiliary, side), maps, np.zeros(len(auxiliary), bool))
        self.truth = as_photos(targets, side)

    def scored(
        self,
        attack: str,
        rebuilt: Photos,
        context: AuditContext,
        *,
        needed: float = NEEDED_SSIM,
        search_steps: int | None = None,
    ) -> ControlResult:
        """What the attack got, and the pictures on disk."""
        picture = f"control-{attack}.npz"
        np.savez(context.pictures / picture, rebuilt=patches.resize(rebuilt[:8], 64).astype(np.float16))
        baseline = baselines.mean_image(self.known, len(self.truth))
        return ControlResult(
            preset=CONTROL,
            attack=attack,
            surface=f"stem {tuple(self.seen.shape[1:])}",
            photos=len(self.truth),
            ssim=metrics.bootstrap(metrics.ssim(self.truth, rebuilt), context.target_clusters(len(self.truth))),
            baseline_ssim=round(float(metrics.ssim(self.truth, baseline).mean()), 5),
            mse=round(float(metrics.mse(self.truth, rebuilt).mean()), 6),
            needed=needed,
            picture=picture,
            search_steps=search_steps,
        )


def by_ridge(context: AuditContext) -> ControlResult:
    """A1 on the undefended stem of the very head that is audited."""
    stem = Stem(context)
    return stem.scored("A1", ridge.reconstruct(stem.known, stem.seen, 0.0, context.profile.seeds[0]), context)


def by_search(context: AuditContext) -> ControlResult:
    """A2 on the same."""
    stem = Stem(context, context.profile.side)
    settings = Search(steps=context.profile.search_steps)
    found = Searcher(search.white_box(context), Surface("stem"), stem.known, settings).find(stem.seen)
    return stem.scored("A2", found.photos, context, search_steps=found.steps)


def by_generator(context: AuditContext) -> ControlResult | NotRun:
    """A9 on the same, from the mean of its prior."""
    if reason := generative.missing(context):
        return NotRun(preset=CONTROL, attack="A9", reason=reason, left_out=True)
    stem = Stem(context, context.profile.side)
    searcher = generative.searcher(context, Surface("stem"), stem.known)
    found = searcher.find(stem.seen)
    needed = NEEDED_SSIM_GENERATED
    return stem.scored("A9", found.photos, context, needed=needed, search_steps=found.steps)


def steps(context: AuditContext) -> Mapping[str, Step]:
    """By name."""
    found: dict[str, Step] = {f"{NAME} A1": partial(by_ridge, context)}
    if context.profile.search_photos and not search.without_gradients(context):
        found[f"{NAME} A2"] = partial(by_search, context)
    if context.profile.generated_photos and not search.without_gradients(context):
        found[f"{NAME} A9"] = partial(by_generator, context)
    return found
