"""The positive control: the same code must rebuild photos from the undefended stem, or the audit is void.

By A1 at the stem's own resolution and, where searches are part of the audit, by the very search of A2 and A4 at theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from securesplit.audit import metrics
from securesplit.audit.attacks import baselines, graph, patches, ridge
from securesplit.audit.attacks.optimise import Search, Searcher
from securesplit.audit.attacks.setting import AttackerKnowledge, Releases, Surface
from securesplit.audit.context import AuditContext, Result, as_photos
from securesplit.audit.metrics import Photos

AUXILIARY, TARGETS = 48, 16
"""Photos of the positive control."""
NEEDED_SSIM = 0.9
NAME = "positive control"


class Stem:
    """Photos at a resolution beside what the undefended stem makes of them.

    Args:
        context: the audit.
        side: of the photos, pixels; None: the stem's own.
    """

    def __init__(self, context: AuditContext, side: int | None = None) -> None:
        own, victims = context.collection.auxiliary.pixels[:AUXILIARY], context.collection.targets.pixels[:TARGETS]
        maps = graph.stem_maps(context.head, own)
        self.seen: Releases = graph.stem_maps(context.head, victims)
        side = side or maps.shape[1]
        self.known = AttackerKnowledge(as_photos(own, side), maps, np.zeros(len(own), bool))
        self.truth = as_photos(victims, side)

    def scored(self, attack: str, rebuilt: Photos, context: AuditContext) -> Result:
        """What the attack got, and the pictures on disk."""
        picture = f"control-{attack}.npz"
        np.savez(context.pictures / picture, rebuilt=patches.resize(rebuilt[:8], 64).astype(np.float16))
        floor = baselines.mean_image(self.known, len(self.truth))
        return {
            "kind": "control",
            "preset": "control",
            "attack": attack,
            "surface": f"stem {tuple(self.seen.shape[1:])}",
            "photos": len(self.truth),
            "ssim": metrics.bootstrap(metrics.ssim(self.truth, rebuilt)).to_json(),
            "ssim_floor": round(float(metrics.ssim(self.truth, floor).mean()), 5),
            "mse": round(float(metrics.mse(self.truth, rebuilt).mean()), 6),
            "needed": NEEDED_SSIM,
            "picture": picture,
        }


def by_ridge(context: AuditContext) -> Result:
    """A1 on the undefended stem of the very head that is audited."""
    stem = Stem(context)
    return stem.scored("A1", ridge.reconstruct(stem.known, stem.seen, 0.0, context.profile.seeds[0]), context)


def by_search(context: AuditContext) -> Result:
    """A2 on the same."""
    stem = Stem(context, context.profile.side)
    searcher = Searcher(context.white_box, Surface("stem"), stem.known, Search(steps=context.profile.search_steps))
    found = searcher.find(stem.seen)
    return stem.scored("A2", found.photos, context) | {"steps": found.steps}


def steps(context: AuditContext) -> dict[str, Callable[[], Result]]:
    """By name."""
    found: dict[str, Callable[[], Result]] = {f"{NAME} A1": partial(by_ridge, context)}
    if context.profile.search_photos and not context.without_gradients:
        found[f"{NAME} A2"] = partial(by_search, context)
    return found
