"""Which cut to take: latency from times, bytes and a link, and the recommendation. Pure functions on numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from securesplit.text import counted

BITS = 8
TIE = 0.03
"""Latencies that differ by less than this share are alike: medians of one machine vary by as much."""


@dataclass(frozen=True)
class Link:
    """What lies between device and worker.

    Args:
        bits_per_s: of the way up.
        round_trip_ms: of an empty message there and back.
        worker_speed: how many times as fast as this machine the worker is; the device is taken to be as fast.
    """

    bits_per_s: float
    round_trip_ms: float = 0.0
    worker_speed: float = 1.0

    def transfer_ms(self, request_bytes: int) -> float:
        """A request's way up and the empty round trip; the answer's hundred bytes are left out."""
        return 1e3 * BITS * request_bytes / self.bits_per_s + self.round_trip_ms


@dataclass(frozen=True)
class Latency:
    """Of one photo, milliseconds: the head on the device, the way to the worker and back, the tail there."""

    head_ms: float
    transfer_ms: float
    tail_ms: float

    @property
    def total_ms(self) -> float:
        """All three, one after the other."""
        return self.head_ms + self.transfer_ms + self.tail_ms


def latency(link: Link, head_ms: float, tail_ms: float, request_bytes: int) -> Latency:
    """Of a photo whose halves take this long on this machine."""
    return Latency(head_ms, link.transfer_ms(request_bytes), tail_ms / link.worker_speed)


@dataclass(frozen=True)
class Option:
    """One cut to choose from.

    Args:
        layer: where.
        latency: of a photo.
        request_bytes: sealed, as sent.
        skill: measured leakage; None: not measured.
    """

    layer: str
    latency: Latency
    request_bytes: int
    skill: float | None


@dataclass(frozen=True)
class Recommendation:
    """The cut to take, or None, and why, in a sentence."""

    layer: str | None
    reason: str


def recommend(
    options: Sequence[Option], max_leakage: float | None = None, *, most_bytes: float = math.inf
) -> Recommendation:
    """The cut of the lowest latency among those that leak little enough; of those alike, the one that leaks least.

    Args:
        options: those measured.
        max_leakage: the largest skill that is allowed; None: any. A cut whose leakage was not measured is over it.
        most_bytes: of a request that a worker takes.
    """
    if not options:
        return Recommendation(None, "no cut was measured")
    options = [option for option in options if option.request_bytes <= most_bytes]
    if not options:
        return Recommendation(None, f"every cut that was measured makes requests of over {most_bytes:,} bytes")
    allowed = [option for option in options if max_leakage is None or _leaks(option) <= max_leakage]
    if not allowed:
        return Recommendation(None, _none_allowed(options, max_leakage))
    best = min(option.latency.total_ms for option in allowed)
    alike = [option for option in allowed if option.latency.total_ms <= best * (1 + TIE)]
    chosen = min(alike, key=lambda option: (_leaks(option), option.request_bytes, option.latency.total_ms))
    return Recommendation(chosen.layer, _reason(chosen, alike, len(allowed), max_leakage))


def _leaks(option: Option) -> float:
    return math.inf if option.skill is None else option.skill


def _none_allowed(options: Iterable[Option], max_leakage: float | None) -> str:
    least = min(options, key=_leaks)
    if least.skill is None:
        return "leakage was not measured at any cut"
    return (
        f"no cut that was attacked leaks at most {max_leakage:g}: the least is {least.skill:.2f}, at {least.layer}; "
        "a preset with an encoder of its own, or certified, leaks less"
    )


def _reason(chosen: Option, alike: Sequence[Option], allowed: int, max_leakage: float | None) -> str:
    parts = chosen.latency
    among = f"of {counted(allowed, 'cut')}" + (
        "" if max_leakage is None else f" whose leakage is at most {max_leakage:g}"
    )
    why = "the lowest latency" if len(alike) == 1 else f"the least leakage of the {len(alike)} fastest, alike,"
    return (
        f"{why} {among}: {parts.total_ms:.3g} ms (head {parts.head_ms:.3g}, transfer {parts.transfer_ms:.3g}, "
        f"tail {parts.tail_ms:.3g}), {chosen.request_bytes:,} bytes"
    )
