"""What a failed try means for the next one: where to go, how long to rest, and when to give an endpoint up.

A refusal is *proven* if its sender had shown a worker's certificate and protected what it said. Everything else
is clear text, which anybody on the way can write: it is reported as what something there answered,
never as a verdict, and is final only after the other endpoints were asked too.
"""

from __future__ import annotations

from securesplit.channel.events import Refused
from securesplit.channel.frames import Code
from securesplit.errors import SecureSplitError, TrustError, UnreachableError, WorkerError
from securesplit.transport.endpoint import Endpoint

MAX_REFUSALS = 3
"""Clear-text refusals of one request after which an endpoint is given up: a forged one costs a retry, no more."""
MAX_STALE = 8
"""The same for what a new handshake may cure; the pauses between so many take about 3 s."""
MAX_WAIT_S = 5.0
"""No worker asks for a longer pause (`Dispatcher.wait_ms`); of what asks for more, this much is granted."""

_HINT = "nothing proves who wrote that: see the worker's log, or try another network"
_VERSIONS = f"if it is true, both sides need the same version and the same --model; {_HINT}"
_SOMETHING = "something"
_LATER = {Code.BUSY, Code.DRAIN}
_CLAIMS: dict[Code, tuple[type[SecureSplitError], str]] = {
    Code.TLS: (TrustError, _VERSIONS),
    Code.TOO_BIG: (WorkerError, _VERSIONS),
    Code.WORKER: (WorkerError, f"if it is true, the request is damaged, or of another version; {_HINT}"),
}


class Retry(Exception):  # noqa: N818  (an instruction, no error)
    """Try again.

    Args:
        why: the cause, for the error at the end.
        after_s: how long the worker asked us to wait.
        elsewhere: whether another endpoint should be tried first.
        absent: whether nothing that could be a worker was met at all.
        at_once: whether nothing is gained by waiting.
        limit: refusals of one request after which this endpoint is given up; None: this is none, and it is asked again
            while there is time.
        verdict: the error of a worker that proved who it is; None where nothing is proven.
        claim: the kind of error that clear text claims, and its hint.
        queued_s: how long the try took of a worker that proved who it is and has no room yet, so that waiting for it is
            no silence; 0: this is another reason.
        nowhere: the error where the endpoint's name has no address; None where something could be asked.
    """

    def __init__(
        self,
        why: str,
        *,
        after_s: float = 0.0,
        elsewhere: bool = False,
        absent: bool = False,
        at_once: bool = False,
        limit: int | None = None,
        verdict: SecureSplitError | None = None,
        claim: tuple[type[SecureSplitError], str] = (UnreachableError, _HINT),
        queued_s: float = 0.0,
        nowhere: UnreachableError | None = None,
    ) -> None:
        super().__init__(why)
        self.why, self.after_s, self.elsewhere, self.absent, self.at_once = why, after_s, elsewhere, absent, at_once
        self.limit, self.verdict, self.claim, self.nowhere = limit, verdict, claim, nowhere
        self.queued_s = queued_s

    def error(self, endpoint: Endpoint) -> SecureSplitError:
        """What the user is told where this ended the tries at an endpoint."""
        kind, hint = self.claim
        return self.verdict or kind(self.why.replace(_SOMETHING, f"{_SOMETHING} at {endpoint}", 1), hint=hint)


def proven(error: SecureSplitError, *, more_addresses: bool = False) -> Retry:
    """A worker that proved who it is refused, or we refused whoever is there: nothing else will come from there.

    Args:
        error: the verdict.
        more_addresses: whether the endpoint's host has another address that was not tried yet.
    """
    return Retry(
        error.message, elsewhere=not more_addresses, at_once=True, limit=None if more_addresses else 1, verdict=error
    )


def ends_session(refusal: Refused) -> bool:
    """Whether a new handshake must come before the next try."""
    return refusal.code not in {Code.WORKER, Code.TOO_BIG} | _LATER


def refused(refusal: Refused, *, known: bool) -> Retry:
    """What a refusal in clear text means for the next try.

    Args:
        refusal: the hint.
        known: whether the worker has answered under this session before, so that a new handshake is likely to help.
    """
    why = f"{_SOMETHING} answered in unauthenticated clear text that {refusal.detail}"
    if refusal.code in _LATER:
        return Retry(why, after_s=min(refusal.retry_after_s, MAX_WAIT_S), elsewhere=True)
    if refusal.code in _CLAIMS:
        kind, hint = _CLAIMS[refusal.code]
        hint = f"if it is true, {refusal.advice}; {_HINT}" if refusal.advice else hint
        return Retry(why, elsewhere=True, limit=MAX_REFUSALS, claim=(kind, hint))
    return Retry(why, elsewhere=not known, at_once=known, limit=MAX_STALE)
