"""What a worker answers to those who ask whether it lives and whether to send it requests.

Alive: the front's loop came round lately; where it has not, nothing but a new process helps. Ready: every tail could
compute once since the start, at least one can now, nothing drains, and the certificate, a CA and its revocation list
are good by this machine's clock. A tail that dies does not make the worker unready, since one bad request must not take
every worker out of a balancer (ADR 051).
"""

from __future__ import annotations

from datetime import datetime

from securesplit.worker.monitoring.observer import Status

_EARLY = "certificate, CA or revocation list is not valid yet: compare the clocks here and on the CA machine"
ALIVE_S = 5.0  # an idle loop comes round ten times a second, and nothing that a busy one does takes 50 ms


def why_not_alive(status: Status) -> str:
    """Empty where it is."""
    return f"the front's loop stands still for {status.silent_s:.0f} s" if status.silent_s > ALIVE_S else ""


def why_not_ready(status: Status, now: datetime) -> str:
    """Empty where requests should be sent here.

    Args:
        status: of the front.
        now: by the wall clock, aware.
    """
    if status.is_draining:
        return "draining"
    if not status.was_ready:
        return f"starting: {status.ready_tails} of {sum(status.tails.values())} tails"
    if not status.ready_tails:
        return "no tail can compute"
    if now >= status.expires_at:
        return "the certificate has expired"
    if not any(start <= now < end for start, end in status.trusts):
        is_early = any(now < start for start, _ in status.trusts)
        return _EARLY if is_early else "no CA with a fresh revocation list is trusted"
    return why_not_alive(status)
