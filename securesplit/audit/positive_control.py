"""The positive control: the same code must rebuild photos from the undefended stem, or the audit is void.

By A1 at the stem's own resolution and, where searches are part of the audit, by the very search of A2 and A4 at theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from securesplit.audit import metrics
from securesplit.audit.attacks import floors, graph, patches, ridge
from securesplit.audit.attacks.optimise import Search, Searcher
from securesplit.audit.attacks.setting import Known, Releases, Surface
from securesplit.audit.context import Bench, Result, as_photos
from securesplit.audit.metrics import Photos

OWN, VICTIMS = 48, 16
"""Photos of the positive control."""
NEEDED_SSIM = 0.9
NAME = "positive control"


class Stem:
    """Photos at a resolution beside what the undefended stem makes of them.

    Args:
        bench: the audit.
        side: of the photos, pixels; None: the stem's own.
    """

    def __init__(self, bench: Bench, side: int | None = None) -> None:
        own, victims = bench.collection.own.pixels[:OWN], bench.collection.victims.pixels[:VICTIMS]
        maps = graph.stem_maps(bench.head, own)
        self.seen: Releases = graph.stem_maps(bench.head, victims)
        side = side or maps.shape[1]
        self.known = Known(as_photos(own, side), maps, np.zeros(len(own), bool))
        self.truth = as_photos(victims, side)

    def scored(self, attack: str, rebuilt: Photos, bench: Bench) -> Result:
        """What the attack got, and the pictures on disk."""
        picture = f"control-{attack}.npz"
        np.savez(bench.pictures / picture, rebuilt=patches.resize(rebuilt[:8], 64).astype(np.float16))
        floor = floors.mean_image(self.known, len(self.truth))
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


def by_ridge(bench: Bench) -> Result:
    """A1 on the undefended stem of the very head that is audited."""
    stem = Stem(bench)
    return stem.scored("A1", ridge.reconstruct(stem.known, stem.seen, 0.0, bench.effort.seeds[0]), bench)


def by_search(bench: Bench) -> Result:
    """A2 on the same."""
    stem = Stem(bench, bench.effort.side)
    searcher = Searcher(bench.white_box, Surface("stem"), stem.known, Search(steps=bench.effort.search_steps))
    found = searcher.find(stem.seen)
    return stem.scored("A2", found.photos, bench) | {"steps": found.steps}


def steps(bench: Bench) -> dict[str, Callable[[], Result]]:
    """By name."""
    found: dict[str, Callable[[], Result]] = {f"{NAME} A1": partial(by_ridge, bench)}
    if bench.effort.search_photos and not bench.without_gradients:
        found[f"{NAME} A2"] = partial(by_search, bench)
    return found
