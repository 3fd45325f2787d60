"""The plaintext of a request and of its answer.

A request is ``budget_ms u32, reserved u32 (zero), tensor``; an answer is a float32 tensor ``[logit, milliseconds]``.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.channel import tensor
from securesplit.channel.tensor import TensorError, TensorSpec

_PREFIX = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants.

    Attributes:
        budget_s: how long it still waits for the answer.
        spec: shape and dtype of the release.
        release: the release itself.
    """

    budget_s: float
    spec: TensorSpec
    release: NDArray[Any]


def parse(plaintext: bytes, allowed: Collection[TensorSpec]) -> Wanted:
    """Read a request.

    Raises:
        TensorError: it is not a request, or its tensor is none of the allowed ones.
    """
    if len(plaintext) < _PREFIX.size:
        raise TensorError("the request is too short")
    budget_ms, reserved = _PREFIX.unpack_from(plaintext)
    if reserved:
        raise TensorError("the request uses a reserved field")
    release = tensor.decode(plaintext[_PREFIX.size :], allowed)
    return Wanted(budget_ms / 1_000, tensor.spec_of(release), release)


def answer(logit: float, tail_ms: float) -> bytes:
    """Write the answer; always of the same size."""
    return tensor.encode(np.array([logit, tail_ms], np.float32))
