"""What a worker's answer is worth: its numbers beside the time that went by here."""

from __future__ import annotations

from dataclasses import dataclass

from securesplit.channel import payload
from securesplit.errors import WorkerError
from securesplit.transport.retry_policy import proven
from securesplit.transport.worker_session import Exchange

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
        payload_bytes: header, ciphertext and tag of the request as sent, or this release's share of one that holds
            several; without the handshake that a first one completes, and without evaluation keys.
        frame: the last frame that was sent, as a wire-tapper saw it.
    """

    logit: float
    tail_ms: float
    round_trip_ms: float
    payload_bytes: int
    frame: bytes


def conclude(exchange: Exchange, payload_bytes: int, took_s: float) -> Answer:
    """What a worker's reply says, where it can be an answer at all.

    Args:
        exchange: the reply.
        payload_bytes: of the request as sent.
        took_s: seconds from its start to the reply.

    Raises:
        Retry: it cannot; another worker may do better.
    """
    try:
        logit, tail_ms = payload.parse_answer(exchange.plaintext)
        check_tail_ms(tail_ms, took_s)
    except WorkerError as error:
        raise proven(error) from None
    return Answer(logit, tail_ms, took_s * 1_000, payload_bytes, exchange.frame)


def check_tail_ms(tail_ms: float, took_s: float) -> None:
    """Raise WorkerError where a tail took longer than went by here."""
    round_trip_ms = took_s * 1_000
    if tail_ms > round_trip_ms + _CLOCK_SLACK_MS:
        raise payload.senseless(f"its tail took {tail_ms:g} ms of the {round_trip_ms:.0f} ms that went by here")
