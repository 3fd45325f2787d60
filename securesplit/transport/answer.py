"""A request's plaintext and what its answer says, as the client writes and reads them."""

from __future__ import annotations

import math
import struct
import time
from dataclasses import dataclass

from securesplit.channel import tensor
from securesplit.channel.frames import HEADER_BYTES
from securesplit.channel.tensor import TensorSpec
from securesplit.errors import WorkerError
from securesplit.transport.retry_policy import proven
from securesplit.transport.worker_session import Exchange

_PREFIX = struct.Struct(">II")
_ANSWER = TensorSpec((2,), "float32")
_TAG_BYTES = 16
_CLOCK_SLACK_MS = 1_000.0
"""By so much two machines' clocks may disagree over one answer; more is not a measurement."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the worker said about one release.

    Attributes:
        logit: of malignant, finite.
        tail_ms: what the tail took, in milliseconds, as the worker says; not negative, and no longer than the round
            trip but for the clocks' difference.
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
    """Logit and milliseconds of an answer; both finite, the time not negative.

    Raises:
        WorkerError: the answer has another form, or numbers in it that cannot be.
    """
    try:
        logit, tail_ms = map(float, tensor.decode(plaintext, [_ANSWER]))
    except tensor.TensorError as error:
        raise _senseless(error.message) from None
    if not math.isfinite(logit):
        raise _senseless(f"its logit is {logit}")
    if not 0.0 <= tail_ms < math.inf:
        raise _senseless(f"its tail took {tail_ms} ms")
    return logit, tail_ms


def conclude(exchange: Exchange, body: bytes, start_s: float) -> Answer:
    """What a worker's reply says, where it can be an answer at all.

    Args:
        exchange: the request and its reply.
        body: the tensor that was sent.
        start_s: when the request began, by ``time.perf_counter``.

    Raises:
        Retry: it cannot; another worker may do better.
    """
    round_trip_ms = (time.perf_counter() - start_s) * 1_000
    try:
        logit, tail_ms = read(exchange.plaintext)
        if tail_ms > round_trip_ms + _CLOCK_SLACK_MS:
            raise _senseless(f"its tail took {tail_ms:g} ms of the {round_trip_ms:.0f} ms that went by here")
    except WorkerError as error:
        raise proven(error) from None
    return Answer(logit, tail_ms, round_trip_ms, payload_bytes(body), exchange.frame)


def _senseless(what: str) -> WorkerError:
    return WorkerError(
        f"the worker's answer makes no sense: {what}", hint="compare the versions, or ask another worker"
    )
