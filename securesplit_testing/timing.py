"""Limits of time in tests."""

from __future__ import annotations

import time


class TooSlowError(AssertionError):
    """What a test measured took longer than it may."""


def took_less_than(limit_s: float, since_s: float, why: str = "") -> None:
    """Check that fewer than `limit_s` seconds have passed since `since_s` of the monotonic clock.

    Raises:
        TooSlowError: more have. A stall of the machine looks the same, so `make test` lets such a test try again
            (ADR 109). Whatever else a test asserts has one try.
    """
    took_s = time.monotonic() - since_s
    if took_s >= limit_s:
        raise TooSlowError(f"took {took_s:.2f} s, not less than {limit_s:g} s {why}".rstrip())
