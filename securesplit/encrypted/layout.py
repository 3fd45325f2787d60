"""Where numbers lie in a ciphertext, and a quadratic tail as plaintext vectors and rotations: NumPy only.

A tail is ``features -> hidden, squared -> hidden, squared -> 1``. A ciphertext holds `slots` numbers, which can be
added and multiplied in place and rotated together. Two layouts:

*alone* (one photo): slot ``(r, j) = r * features + j`` holds feature ``j + stride * r`` (mod features), a copy a row,
each turned further. The product by the first matrix (hybrid diagonals after Juvekar et al., GAZELLE, USENIX Security
2018) then needs only `stride` - 1 rotations before the multiplication, since the copies bring the others along.

*batch* (up to `batch` photos): slot ``j * batch + p`` holds feature j of photo p, so a rotation by ``k * batch`` turns
the features of all photos at once. Matrices are multiplied by diagonals with baby steps and giant steps (Halevi, Shoup,
CRYPTO 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.inexact[Any]]
"""``(slots,)``."""
Matrix = NDArray[np.inexact[Any]]


def _powers(first: int, stop: int) -> tuple[int, ...]:
    """First, twice that, and so on, below `stop`: rotations that sum over what lies between."""
    steps = []
    while first < stop:
        steps.append(first)
        first *= 2
    return tuple(steps)


@dataclass(frozen=True)
class Layout:
    """Sizes, all of them powers of two, and what follows from them.

    Args:
        features: numbers that the device encrypts for a photo.
        hidden: units of both hidden layers; ``hidden ** 2 <= slots`` and at most `features`.
        slots: of a ciphertext.
    """

    features: int = 256
    hidden: int = 64
    slots: int = 4096

    @property
    def batch(self) -> int:
        """Photos that one ciphertext holds at most."""
        return self.slots // self.features

    @property
    def stride(self) -> int:
        """By so many features the next copy of a lone photo is turned further."""
        return self.hidden * self.features // self.slots

    @property
    def baby(self) -> int:
        """Baby steps; there are as many giant steps."""
        return 1 << ((self.hidden.bit_length() - 1) // 2)

    @property
    def giant(self) -> int:
        """Giant steps."""
        return self.hidden // self.baby

    @property
    def copies(self) -> tuple[int, ...]:
        """Rotations that sum over the copies of a lone photo."""
        return _powers(self.features, self.slots)

    @property
    def folds(self) -> tuple[int, ...]:
        """Rotations that sum over what belongs to one hidden unit, in features."""
        return _powers(self.hidden, self.features)

    @property
    def row(self) -> tuple[int, ...]:
        """Rotations that sum over the units of a row."""
        return _powers(1, self.hidden)

    @property
    def rows(self) -> tuple[int, ...]:
        """Rotations that sum over the rows of `hidden` slots."""
        return _powers(self.hidden, self.slots)

    @property
    def rotations(self) -> tuple[int, ...]:
        """All that both layouts rotate by, ascending: a Galois key for each."""
        wide = self.batch
        steps = {*range(1, self.stride), *self.copies, *self.folds, *self.row, *self.rows}
        steps |= {wide * i for i in range(1, self.baby)} | {wide * self.baby * i for i in range(1, self.giant)}
        steps |= {wide * step for step in (*self.folds, *self.row)}
        return tuple(sorted(steps))

    def pack(self, features: NDArray[np.floating]) -> Vector:
        """``(photos, features)`` -> slots; one photo lies alone, several in a batch whose rest is zero.

        Raises:
            ValueError: more photos than a ciphertext holds, or none.
        """
        count = len(features)
        if not 1 <= count <= self.batch:
            raise ValueError(f"{count} photos do not fit into a ciphertext of 1 to {self.batch}")
        if count == 1:
            return np.concatenate([np.roll(features[0], -self.stride * r) for r in range(self.batch)]).astype(float)
        slots = np.zeros((self.features, self.batch))
        slots[:, :count] = features.T
        return slots.reshape(-1)

    def places(self, photos: int) -> NDArray[np.intp]:
        """Slots of every copy of the answers to so many photos, ``(photos, copies)``."""
        if photos == 1:
            return np.arange(0, self.slots, self.hidden)[None]
        return np.arange(self.slots).reshape(self.features, self.batch).T[:photos]

    def _column(self, r: int, j: int, i: int) -> int:
        """The feature in slot (r, j) of a lone photo after a rotation by i, which may reach into the next copy."""
        turned = j + i
        return (turned + self.stride * (r + (turned >= self.features))) % self.features

    def first_alone(self, weights: Matrix) -> tuple[list[Vector], NDArray[np.bool_]]:
        """The first matrix ``(hidden, features)`` for a lone photo.

        Returns:
            A vector for each rotation 0 to `stride` - 1, and which weights these reach: rotations that run into the
            next copy leave out a few, which must be zero.
        """
        vectors: list[Vector] = []
        reached: NDArray[np.bool_] = np.zeros(weights.shape, bool)
        for i in range(self.stride):
            vector = np.zeros(self.slots)
            for r in range(self.batch):
                for j in range(self.features):
                    place = j % self.hidden, self._column(r, j, i)
                    if not reached[place]:
                        reached[place] = True
                        vector[r * self.features + j] = weights[place]
            vectors.append(vector)
        return vectors, reached

    def second_alone(self, weights: Matrix) -> Vector:
        """The second matrix ``(hidden, hidden)``, a unit a row; later rows have nothing to do."""
        vector = np.zeros(self.slots, weights.dtype)
        vector[: weights.size] = weights.reshape(-1)
        return vector

    def per_unit_alone(self, values: Matrix, *, first: bool) -> Vector:
        """Numbers of hidden units: of the first layer in every row, of the second at each row's first slot."""
        if first:
            return np.tile(values, self.slots // self.hidden)
        vector = np.zeros(self.slots, values.dtype)
        vector[: self.hidden**2 : self.hidden] = values
        return vector

    def diagonals(self, weights: Matrix) -> list[list[Vector]]:
        """A matrix ``(hidden, columns)`` for a batch: by giant step and baby step, turned back by the giant step."""
        columns = weights.shape[1]
        j = np.arange(self.features)
        found = []
        for g in range(self.giant):
            steps = [weights[j % self.hidden, (j + g * self.baby + i) % columns] for i in range(self.baby)]
            found.append([np.roll(np.repeat(s, self.batch), g * self.baby * self.batch) for s in steps])
        return found

    def per_unit_batch(self, values: Matrix) -> Vector:
        """Numbers of hidden units for a batch."""
        return np.repeat(np.tile(values, self.features // self.hidden), self.batch)
