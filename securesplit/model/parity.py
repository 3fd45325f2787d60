"""How far converted halves are from the network: a condition of every bundle, and a line of its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError
from securesplit.model.litert import Head, Tail
from securesplit.privacy.release import ReleaseSpec, saturate, to_grid

CLOSE = {"float32": 0.01, "float16": 0.05, "int8": 0.25}
"""How far halves may be from Keras: the cut as a share of its largest number, the answer of 1 + its span in logits."""
MOST_UNLIKE = 0.5
"""Of the variance between photos in Keras, what the difference from it may have: another network has 2, none 1."""


@dataclass(frozen=True)
class Parity:
    """How far LiteRT is from Keras in float32 on the same photos.

    Attributes:
        precision: of the halves.
        head_bytes: size of ``head.tflite``.
        tail_bytes: size of ``tail.tflite``.
        head_error: largest absolute difference of the cut tensor, as a share of its largest number.
        answer_error: largest absolute difference of the answer, head to tail.
        answer_range: largest less smallest answer of Keras on these photos, to compare the error with.
        photos: how many.
    """

    precision: str
    head_bytes: int
    tail_bytes: int
    head_error: float
    answer_error: float
    answer_range: float
    photos: int

    def line(self) -> str:
        """For people, one line."""
        return (
            f"{self.precision}: head {self.head_bytes / 1e6:.2f} MB, tail {self.tail_bytes / 1e6:.2f} MB; on "
            f"{self.photos} photos the cut differs from Keras by at most {self.head_error:.2g} of its largest number, "
            f"the answer by {self.answer_error:.2g} (answers span {self.answer_range:.2g})"
        )


def measure(
    halves: tuple[bytes, bytes],
    spec: ReleaseSpec,
    photos: NDArray[np.uint8],
    expected: tuple[NDArray[Any], NDArray[Any]],
    precision: str,
) -> Parity:
    """Through the deployed path: LiteRT head, integer grid, LiteRT tail.

    Raises:
        BundleError: it is not finite, or not close to Keras.
    """
    (cut, answer), head, tail = expected, Head(halves[0], threads=2), Tail(halves[1], {"none": spec}, threads=2)
    cuts, error = head_error(head, photos, cut, precision)
    answers = tail("none", np.stack([saturate(to_grid(z, spec), spec) for z in cuts]))
    answer_error = _close(answers, answer[:, 0], precision, "answer")
    return Parity(
        precision=precision,
        head_bytes=len(halves[0]),
        tail_bytes=len(halves[1]),
        head_error=error / float(np.abs(cut).max()),
        answer_error=answer_error,
        answer_range=span(answer),
        photos=len(photos),
    )


def head_error(
    head: Head, photos: NDArray[np.uint8], cut: NDArray[np.float32], precision: str
) -> tuple[NDArray[np.float32], float]:
    """The converted head's cuts of the photos, and their largest difference from Keras."""
    cuts = np.stack([head(photo)["none"] for photo in photos])
    return cuts, _close(cuts, cut, precision, "cut")


def _close(found: NDArray[Any], expected: NDArray[Any], precision: str, what: str) -> float:
    """The largest difference.

    Raises:
        BundleError: `found` is not finite, further from Keras than `CLOSE` allows, or does not follow it from photo to
            photo: where answers hardly differ, others would be close enough, too.
    """
    largest, share = float(np.abs(found - expected).max()), CLOSE[precision]
    allowed = share * (float(np.abs(expected).max()) if what == "cut" else 1.0 + span(expected))
    if not np.isfinite(largest):
        told = "is not finite"
    elif largest > allowed:
        told = f"differs by {largest:.2g}, more than {allowed:.2g}"
    elif _variance(found - expected) > MOST_UNLIKE * _variance(expected):
        told = "does not tell photos apart as in Keras"
    else:
        return largest
    raise BundleError(
        f"the {what} of the {precision} halves {told}, so they are not this network",
        hint="choose a --precision that keeps more, another layer, or --calibration photos that are like yours",
    )


def _variance(values: NDArray[Any]) -> float:
    """Between photos, of all numbers together."""
    return float(np.var(np.asarray(values, np.float64), axis=0).sum())


def span(values: NDArray[np.float32]) -> float:
    """Largest difference that one number shows between photos."""
    return float(np.ptp(values, axis=0).max())
