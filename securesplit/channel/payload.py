"""What is sealed: a request and its answer, each in both directions.

A request is ``budget_ms u32, reserved u32 (zero), tensor``, big-endian; an answer is a float32 tensor ``[logit,
milliseconds]``. Both have one size for a preset, so that lengths tell nothing.

Nothing here trusts the other side: a worker takes only the tensors that its bundle uses, and a client only numbers that
can be an answer.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.channel import frames, sealing, tensor, tls
from securesplit.channel.tensor import TensorError, TensorSpec
from securesplit.errors import BundleError, WorkerError

_PREFIX = struct.Struct(">II")
ANSWER = TensorSpec((2,), "float32")
REQUEST_OVERHEAD_BYTES = frames.HEADER_BYTES + _PREFIX.size + tensor.HEADER_BYTES + sealing.TAG_BYTES
"""What a request weighs on the wire beyond its numbers."""
MAX_RELEASE_BYTES = frames.MAX_BODY_BYTES - tls.MAX_FLIGHT_BYTES - REQUEST_OVERHEAD_BYTES
"""The numbers of the largest release that can travel: a session's first request ends the handshake in one frame."""


def check_travels(preset: str, spec: TensorSpec) -> None:
    """That releases of a preset fit into a message.

    Raises:
        BundleError: they have more than `MAX_RELEASE_BYTES`.
    """
    if spec.nbytes > MAX_RELEASE_BYTES:
        raise BundleError(
            f"a release of preset {preset} has {spec.nbytes:,} bytes, and at most {MAX_RELEASE_BYTES:,} can travel",
            hint="choose another --privacy, or split the network where the tensor is smaller (securesplit cuts)",
        )


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """What a client asks for.

    Attributes:
        budget_s: how long it still waits for the answer.
        spec: shape and dtype of the release.
        release: the release itself.
    """

    budget_s: float
    spec: TensorSpec
    release: NDArray[Any]


class OutgoingRequest:
    """A request as a client makes it: the release is encoded once, and every try has less time left.

    Args:
        release: a preset's shape and integer dtype.

    Raises:
        TensorError: the release has a dtype or a shape that cannot travel.
    """

    def __init__(self, release: NDArray[Any]) -> None:
        self._tensor = tensor.encode(release)

    def plaintext(self, budget_ms: int) -> bytes:
        """What is sealed.

        Args:
            budget_ms: how long the answer is waited for.
        """
        return _PREFIX.pack(budget_ms, 0) + self._tensor

    @property
    def frame_bytes(self) -> int:
        """Header, ciphertext and tag on the wire, without the handshake that a first request completes."""
        return REQUEST_OVERHEAD_BYTES - tensor.HEADER_BYTES + len(self._tensor)


def parse_request(plaintext: bytes, allowed: Collection[TensorSpec]) -> ParsedRequest:
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
    return ParsedRequest(budget_ms / 1_000, tensor.spec_of(release), release)


def encode_answer(logit: float, tail_ms: float) -> bytes:
    """Write an answer; always of the same size."""
    return tensor.encode(np.array([logit, tail_ms], np.float32))


def parse_answer(plaintext: bytes) -> tuple[float, float]:
    """Logit and milliseconds of an answer; both finite, the time not negative.

    Raises:
        WorkerError: the answer has another form, or numbers in it that cannot be.
    """
    try:
        logit, tail_ms = map(float, tensor.decode(plaintext, [ANSWER]))
    except TensorError as error:
        raise senseless(error.message) from None
    if not math.isfinite(logit):
        raise senseless(f"its logit is {logit}")
    if not 0.0 <= tail_ms < math.inf:
        raise senseless(f"its tail took {tail_ms} ms")
    return logit, tail_ms


def senseless(what: str) -> WorkerError:
    """The error of an answer that cannot be true."""
    hint = "compare the versions, or ask another worker"
    return WorkerError(f"the worker's answer makes no sense: {what}", hint=hint)
