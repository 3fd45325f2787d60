"""Views of a photo that an attacker has: turned, scaled, in other light. As many of them as the audit has time for.

Pixels are ``(side, side, 3) uint8``, before and after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.audit.attacks.likeness import MAX_NUMBERS
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import Goal
from securesplit.audit.observations import embed
from securesplit.audit.results import Result

Pixels: TypeAlias = NDArray[np.uint8]
DEGREES: Final = 10
SCALED: Final = 0.05
BRIGHTER: Final = 1.07
SHARE: Final = 0.05
"""Of an audit's time, which looking at views may take for each alteration of A11 and for A7, for all presets."""


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


def quarters(photo: Pixels, turns: int) -> Pixels:
    """Turned by so many quarters of a turn."""
    return np.ascontiguousarray(np.rot90(photo, turns))


def _mirrored(photo: Pixels) -> tuple[Image.Image, int]:
    """The photo with a border of what is mirrored at its edges, and the border's width."""
    margin = len(photo) // 5
    return Image.fromarray(np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")), margin


OTHERS: Final[Sequence[Callable[[Pixels], Pixels]]] = (
    *(partial(turned, degrees=degrees) for degrees in (-DEGREES, -DEGREES / 2, DEGREES / 2, DEGREES)),
    *(partial(scaled, factor=factor) for factor in (1 - SCALED, 1 + SCALED)),
    *(partial(brighter, factor=factor) for factor in (1 / BRIGHTER, BRIGHTER)),
    *(partial(quarters, turns=turns) for turns in (1, 2, 3)),
)
"""What is made of a photo beside the view of it as it is."""


@dataclass(frozen=True)
class Looked:
    """Noise-free releases of views.

    Args:
        grids: ``(n, views, *shape)`` integers by preset; the first view is the photo as it is, and the only one where
            releases are longer than `likeness.MAX_NUMBERS`.
        cut_short: that there was no time for views which this audit should have looked at; empty where there was.
    """

    grids: Mapping[str, NDArray[np.integer]]
    cut_short: str


def look(context: AuditContext, photos: NDArray[np.uint8]) -> Looked:
    """Send views of each photo ``(n, side, side, 3)`` through the head."""
    wanted = OTHERS if context.profile.looks_at_views else ()
    others = wanted if wanted and _is_time_for(wanted, context, photos) else ()
    views = (view for photo in photos for view in (photo, *(other(photo) for other in others)))
    by_photo = {
        name: grids.reshape(-1, 1 + len(others), *grids.shape[1:])
        for name, grids in embed(context.bundle, views).items()
    }
    kept = {name: grids if grids[0, 0].size <= MAX_NUMBERS else grids[:, :1].copy() for name, grids in by_photo.items()}
    return Looked(kept, "before it looked at views" if len(others) < len(wanted) else "")


def open_if_cut_short(goal: Goal, result: Result) -> Goal:
    """The goal, which is not met by an attack that might have missed it with more time."""
    return replace(goal, met=None) if goal.met and result.cut_short else goal


def _is_time_for(
    others: Sequence[Callable[[Pixels], Pixels]], context: AuditContext, photos: NDArray[np.uint8]
) -> bool:
    """Whether these views of all photos go through the head in `SHARE`, by how long those of one take."""
    head = context.bundle.open_head(threads=2)
    started_s = time.monotonic()
    for other in others:
        head(other(photos[0]))
    return len(photos) * (time.monotonic() - started_s) <= SHARE * 60 * context.profile.minutes
