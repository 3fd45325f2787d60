"""A line whose round trips take longer than a connection may take to open at first: it is given more time."""

from __future__ import annotations

from typing import Any

import pytest

from securesplit.transport.addresses import Addresses
from securesplit.transport.connection import Timeouts
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.wire import Fault
from securesplit_testing.serving import running
from tests.transport.clients import CLIENTS, KEYS
from tests.transport.nat import Nat

TIMEOUTS = Timeouts(total_s=15.0, try_s=4.0, connect_s=0.2)


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_connection_that_takes_long_to_open_is_opened(ask: Any) -> None:
    with running(keys=KEYS) as worker:
        line = Nat(worker.front.endpoint, delay_s=0.15)
        assert ask([line.endpoint], TIMEOUTS, [3, 4]) == [3, 4]
        line.close()


def test_who_was_met_and_lost_is_given_up_as_soon_as_at_first() -> None:
    addresses = Addresses(Endpoint("192.0.2.1", 1))
    addresses.resolve()
    given = []
    for fault, was_up in ((Fault.SILENT, False), (Fault.REFUSED, False), (Fault.SILENT, False), (Fault.LOST, True)):
        given.append(addresses.connect_s(3.0))
        addresses.failed(fault, was_up=was_up)
    assert [*given, addresses.connect_s(3.0)] == [3.0, 6.0, 6.0, 12.0, 3.0]
