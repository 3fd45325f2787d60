"""A request's plaintext and what its answer says, as the client writes and reads them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from securesplit.channel import tensor
from securesplit.channel.frames import HEADER_BYTES
from securesplit.channel.tensor import TensorSpec
from securesplit.errors import WorkerError

_PREFIX = struct.Struct(">II")
_ANSWER = TensorSpec((2,), "float32")
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What the worker said about one release.

    Attributes:
        logit: of malignant.
        tail_ms: what the tail took, in milliseconds, as the worker says.
        round_trip_ms: from the call to the answer, in milliseconds.
        payload_bytes: header, ciphertext and tag of the request as sent; without the handshake that a first one
            completes.
        frame: the last frame that was sent, as a wire-tapper saw it.
    """

    logit: float
    tail_ms: float
    round_trip_ms: float
    payload_bytes: int
    frame: bytes


def request(budget_ms: int, body: bytes) -> bytes:
    """The plaintext of a request: how long its answer is waited for, and the tensor."""
    return _PREFIX.pack(budget_ms, 0) + body


def payload_bytes(body: bytes) -> int:
    """Header, ciphertext and tag of the request that carries a tensor."""
    return HEADER_BYTES + _PREFIX.size + len(body) + _TAG_BYTES


def read(plaintext: bytes) -> tuple[float, float]:
    """Logit and milliseconds of an answer.

    Raises:
        WorkerError: the answer has another form.
    """
    try:
        logit, tail_ms = tensor.decode(plaintext, [_ANSWER])
    except tensor.TensorError as error:
        raise WorkerError(
            f"the worker's answer makes no sense ({error.message})", hint="compare the versions"
        ) from None
    return float(logit), float(tail_ms)
