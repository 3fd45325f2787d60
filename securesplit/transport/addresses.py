"""The addresses of a host, which may have several: which one is tried, when the next one is, and when they are old.

A name is looked up again once each of its addresses has had its turn in vain: a program may run for months, and a
worker that moves takes its name along. Where the second look finds nothing, the addresses before are kept, since a
resolver may be out for a while, too.
"""

from __future__ import annotations

from securesplit.errors import UnreachableError
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.retry_policy import Retry
from securesplit.transport.wire import Fault

_DOUBLED = 4  # times; no try takes that long


class Addresses:
    """The addresses of one endpoint's host: where one is absent the next is tried.

    Args:
        endpoint: of the worker.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._found: list[Endpoint] = []
        self._turn, self._are_old = 0, True
        self._unheard = 0  # connections in a row that were not up in time

    def resolve(self) -> None:
        """Look the host's name up, where that was not done since the last round; may block as long as the system does.

        Raises:
            Retry: the name has no address, and never had one.
        """
        if not self._are_old:
            return
        try:
            found = self._endpoint.resolve()
        except UnreachableError as error:
            if not self._found:
                raise Retry(error.message, elsewhere=True, absent=True, nowhere=error) from None
            found = self._found
        if found != self._found:
            self._found, self._turn = found, 0
        self._are_old = False

    @property
    def current(self) -> Endpoint:
        """The one that worked last, or the next to be tried."""
        return self._found[self._turn]

    def connect_s(self, first_s: float) -> float:
        """How long opening a connection may take: `first_s`, and twice as long after each that was not up in time.

        It takes two round trips, and a slow line may need more than `first_s` for them.
        """
        return first_s * 2.0 ** min(self._unheard, _DOUBLED)

    def failed(self, fault: Fault, *, was_up: bool) -> Retry:
        """What to do after a connection to `current` failed, before or after the other end had spoken ZMTP."""
        self._unheard = 0 if was_up else self._unheard + (fault is Fault.SILENT)
        absent = fault in (Fault.REFUSED, Fault.STRANGER)
        left = fault is not Fault.LOST and self.move_on()
        more = absent and left
        return Retry(fault.value, elsewhere=not more, absent=absent, at_once=more)

    def move_on(self) -> bool:
        """Let the next address be tried; False where each has had its turn."""
        self._turn = (self._turn + 1) % len(self._found)
        self._are_old = self._are_old or self._turn == 0
        return self._turn != 0
