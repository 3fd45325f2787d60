"""Bounds of a server's channel, and the token buckets that keep one address from taking all handshakes.

Every table of a server has a bound here; a full one evicts, it never refuses newcomers. (In a flood, refusing new
half-open handshakes failed 112 of 126 honest clients, evicting the oldest 0 of 402.) The buckets are for who decides
which HELLO the channel sees next.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from securesplit.channel.frames import MAX_BODY_BYTES

SESSION_AGE_S = 3600.0
SESSION_IDLE_S = 300.0
"""A session ends after so long, or so long after its last request; a server adds `grace_s`, a client does not."""
REQUESTS_IN_FLIGHT = 8
"""Requests of one session that a client has under way at once, and that a worker takes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server.

    Attributes:
        max_half_open: handshakes that wait for their second flight; the oldest of the address with the most is evicted.
        half_open_s: seconds that one may wait; longer than a client's try, since the second flight carries the first
            request, whose 150 kB (preset ``encrypted``) take 4 s at 0.3 Mbit/s.
        max_sessions: open sessions; the least recently used of the client that has most is evicted.
        max_sessions_per_client: of one certificate; its own least recently used is evicted.
        max_age_s: seconds after which a session ends.
        max_idle_s: seconds without a request after which a session ends.
        grace_s: seconds that the server waits longer than the client, so that the client is the one that ends a
            session.
        max_body_bytes: of one frame.
        handshakes_per_s: of one address, sustained. One core answers about a thousand HELLOs a second.
        handshake_burst: of one address, at once: so many devices behind one NAT come back in a second.
        max_addresses: buckets that are remembered.
    """

    max_half_open: int = 256
    half_open_s: float = 10.0
    max_sessions: int = 4096
    max_sessions_per_client: int = 256
    max_age_s: float = SESSION_AGE_S
    max_idle_s: float = SESSION_IDLE_S
    grace_s: float = 10.0
    max_body_bytes: int = MAX_BODY_BYTES
    handshakes_per_s: float = 200.0
    handshake_burst: float = 400.0
    max_addresses: int = 4096


class TokenBuckets:
    """A token bucket an address, in a table of bounded size.

    Args:
        rate_per_s: tokens that come back in a second.
        burst: tokens of a full bucket.
        max_addresses: buckets that are remembered; the least recently used is forgotten, that is, full again.
    """

    def __init__(self, rate_per_s: float, burst: float, max_addresses: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._max_addresses = max_addresses
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now_s: float) -> float:
        """Take a token and return 0.0, or the seconds until there will be one."""
        tokens, at_s = self._buckets.pop(address, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - at_s) * self._rate_per_s)
        granted = tokens >= 1.0
        self._buckets[address] = (tokens - 1.0 if granted else tokens, now_s)
        if len(self._buckets) > self._max_addresses:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1.0 - tokens) / self._rate_per_s
