"""The addresses of a host that has several: which one is tried, and when the next one is."""

from __future__ import annotations

from securesplit.errors import UnreachableError
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.retry_policy import Retry
from securesplit.transport.wire import Fault


class Addresses:
    """The addresses of one endpoint's host: where one is absent the next is tried.

    Args:
        endpoint: of the worker.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._found: list[Endpoint] = []
        self._turn = 0

    def resolve(self) -> None:
        """Look the host's name up, where that was not done yet; may block for as long as the system does.

        Raises:
            Retry: the name has no address.
        """
        try:
            self._found = self._found or self._endpoint.resolve()
        except UnreachableError as error:
            raise Retry(error.message, elsewhere=True, absent=True, nowhere=error) from None

    @property
    def current(self) -> Endpoint:
        """The one that worked last, or the next to be tried."""
        return self._found[self._turn % len(self._found)]

    def failed(self, fault: Fault) -> Retry:
        """What to do after a connection to `current` failed."""
        absent = fault in (Fault.REFUSED, Fault.STRANGER)
        left = fault is not Fault.LOST and self.move_on()
        more = absent and left
        return Retry(fault.value, elsewhere=not more, absent=absent, at_once=more)

    def move_on(self) -> bool:
        """Let the next address be tried; False where each has had its turn."""
        self._turn += 1
        return self._turn % len(self._found) != 0
