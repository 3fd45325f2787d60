"""What a tab asked about last, and what came of it: a page that is loaded again shows it, and need not ask again.

It is in memory alone, as long as `securesplit.ui.access` says. The photo itself is not in it, nor its name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securesplit.device.pipeline import Trace
from securesplit.errors import CredentialError, SecureSplitError
from securesplit.results import Diagnosis, Refusal
from securesplit.ui.pictures import Canvas


@dataclass(frozen=True)
class Outcome:
    """Of a photo that could be read.

    Attributes:
        result: the answer, or why there is none.
        trace: how the answer came about; None of a refusal.
        pixels: what the network saw, or would have seen, ``(side, side, 3) uint8``.
        whole: the whole photo, where that is more.
        at: when it was there, ISO 8601 in UTC.
    """

    result: Diagnosis | Refusal
    trace: Trace | None
    pixels: NDArray[np.uint8]
    whole: Canvas | None
    at: str


@dataclass(eq=False)
class Question:
    """One photo that was asked about.

    Attributes:
        id: that the tab gave it.
        outcome: what came of it; None while it is under way.
        is_given: whether a browser was there to take it; only then, and once, an open history keeps it.
        entry: of the history that kept it.
        problem: why the history did not.
    """

    id: str
    outcome: Outcome | SecureSplitError | None = None
    is_given: bool = False
    entry: str | None = None
    problem: CredentialError | None = None
