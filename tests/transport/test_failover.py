"""Where requests go, with the clock held still: what gives an endpoint up, and what does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from securesplit.errors import TrustError, UnreachableError, WorkerError
from securesplit.transport.failover import EndpointSelector, RetryState, Timeouts
from securesplit.transport.retry_policy import MAX_REFUSALS, MAX_STALE, MAX_WAIT_S, Retry, proven
from securesplit_testing.clock import Clock

ENDPOINTS = [f"tcp://127.0.0.1:{port}" for port in (1, 2, 3)]
TIMEOUTS = Timeouts(total_s=100.0)
ABSENT = Retry("nothing listens there", elsewhere=True, absent=True)
STALE = Retry("something answered that it does not know this session", elsewhere=True, limit=MAX_STALE)
CLAIMED = Retry("something answered no", elsewhere=True, limit=MAX_REFUSALS, claim=(WorkerError, "look"))


def start(many: int) -> tuple[EndpointSelector, RetryState, Clock]:
    clock = Clock(0.0)
    return EndpointSelector(ENDPOINTS[:many], TIMEOUTS), RetryState(TIMEOUTS, clock, lambda: 0.5), clock


def fail(selector: EndpointSelector, state: RetryState, clock: Clock, *retries: Retry) -> list[int]:
    """Fail try after try, resting as told; return where each went."""
    tried = []
    for retry in retries:
        tried.append(selector.choose(state))
        clock.now_s += selector.failed(retry, tried[-1], state)
    return tried


def exhaust(ask: Callable[[], None]) -> None:
    for _ in range(1_000):
        ask()


def test_one_refusal_does_not_give_up_a_worker() -> None:
    """Its front was killed under load; that it then does not know the session is the most natural of all refusals."""
    selector, state, clock = start(1)
    selector.succeeded(0)
    fail(selector, state, clock, *[ABSENT] * 20, STALE, ABSENT, STALE)
    assert state.given_up == set()


@pytest.mark.parametrize("retry", [STALE, CLAIMED])
def test_refusals_are_counted_by_request_and_endpoint(retry: Retry) -> None:
    assert retry.limit is not None
    for _ in range(3):
        selector, state, clock = start(1)
        fail(selector, state, clock, *[retry] * (retry.limit - 1))
        with pytest.raises((UnreachableError, WorkerError), match=f"something at {ENDPOINTS[0]} answered"):
            fail(selector, state, clock, retry)


def test_after_a_refusal_the_others_come_first() -> None:
    selector, state, clock = start(3)
    assert fail(selector, state, clock, *[CLAIMED] * 6) == [0, 1, 2, 0, 1, 2]


def test_of_the_others_the_one_that_may_be_asked_soonest_is_next() -> None:
    selector, state, clock = start(3)
    busy = [Retry("busy", elsewhere=True, after_s=seconds) for seconds in (30.0, 5.0, 20.0)]
    assert fail(selector, state, clock, *busy) == [0, 1, 2]
    assert selector.choose(state) == 1


def test_an_endpoint_that_is_given_up_is_no_longer_where_requests_begin() -> None:
    selector, state, clock = start(2)
    fail(selector, state, clock, Retry("refused", elsewhere=False, at_once=True, limit=1))
    assert selector.choose(RetryState(TIMEOUTS, clock)) == 1
    assert clock.now_s == 0.0, "nothing is gained by a pause"


def test_a_failure_where_requests_began_before_moves_nobody_again() -> None:
    """Of two requests side by side the one that fails later finds that the other has gone on."""
    selector, state, clock = start(3)
    later = RetryState(TIMEOUTS, clock, lambda: 0.5)
    tried = selector.choose(later)
    fail(selector, state, clock, CLAIMED, CLAIMED)
    assert selector.choose(state) == 2
    selector.failed(CLAIMED, tried, later)
    assert selector.current == 2


def test_what_one_worker_claims_is_not_the_verdict_of_all() -> None:
    selector, state, clock = start(2)
    silent = Retry("no answer came", elsewhere=True)

    def asked() -> None:
        tried = selector.choose(state)
        clock.now_s += selector.failed(silent if tried else CLAIMED, tried, state)

    with pytest.raises(UnreachableError, match=r"answered no.*no answer came"):
        exhaust(asked)
    assert state.given_up == {0}


@pytest.mark.parametrize("refuses", [False, True])
def test_a_worker_that_was_there_is_waited_for_once(refuses: bool) -> None:
    """It may be starting again; after a request that waited for it in vain the next one gives up as for any other."""
    selector, waited_s = EndpointSelector(ENDPOINTS[:1], TIMEOUTS), []
    first = [Retry("busy")] if refuses else []
    if not refuses:
        selector.succeeded(0)
    for before in (first, []):
        clock = Clock(0.0)
        with pytest.raises(UnreachableError):
            fail(selector, RetryState(TIMEOUTS, clock, lambda: 0.5), clock, *before, *[ABSENT] * 1_000)
        waited_s.append(clock.now_s)
    assert waited_s[0] > 0.9 * TIMEOUTS.total_s
    assert waited_s[1] <= TIMEOUTS.absent_s < TIMEOUTS.total_s / 2


def test_what_is_proven_is_told_before_what_is_claimed() -> None:
    selector, state, clock = start(2)
    fail(selector, state, clock, CLAIMED, proven(TrustError("revoked")), CLAIMED)
    with pytest.raises(TrustError, match="revoked"):
        fail(selector, state, clock, CLAIMED)


def test_a_long_rest_of_one_endpoint_is_spent_at_the_others() -> None:
    selector, state, clock = start(2)
    busy = Retry("something answered that it is busy", elsewhere=True, after_s=MAX_WAIT_S)
    assert fail(selector, state, clock, busy) == [0]
    assert clock.now_s < 0.1
    assert fail(selector, state, clock, busy) == [1]
    assert clock.now_s >= MAX_WAIT_S
    assert selector.choose(state) == 0


def test_time_is_left_for_the_endpoints_that_were_not_tried_yet() -> None:
    selector = EndpointSelector(ENDPOINTS, TIMEOUTS)
    clock = Clock(0.0)
    state = RetryState(Timeouts(total_s=9.0), clock, lambda: 0.5)
    silent = Retry("no answer came", elsewhere=True)
    shares = [selector.try_s(state)]
    for _ in range(2):
        clock.now_s += shares[-1]
        selector.failed(silent, selector.choose(state), state)
        shares.append(selector.try_s(state))
    assert shares == pytest.approx([3.0, 3.0, 3.0])


def test_a_try_that_the_deadline_cut_does_not_hide_what_a_worker_said() -> None:
    selector, state, clock = start(1)
    fail(selector, state, clock, Retry("the worker has no room for evaluation keys now", after_s=0.5, elsewhere=True))
    clock.now_s = TIMEOUTS.total_s
    with pytest.raises(UnreachableError, match="no room for evaluation keys now"):
        fail(selector, state, clock, Retry("no answer came", elsewhere=True))


def test_waiting_for_room_puts_the_deadline_off_up_to_a_bound() -> None:
    timeouts = Timeouts(total_s=10.0, room_s=60.0)
    clock = Clock(0.0)
    selector, state = EndpointSelector(ENDPOINTS[:1], timeouts), RetryState(timeouts, clock, lambda: 0.5)
    full = Retry("no room", after_s=4.0, elsewhere=True, queued_s=1.0)
    with pytest.raises(UnreachableError, match="no room"):
        fail(selector, state, clock, *[full] * 100)
    assert 20.0 < clock.now_s <= 30.0, "its own ten seconds, and twice as many"


@pytest.mark.parametrize(("waited_s", "said"), [(0.2, "within 0.2 s"), (0.0, "within 0.01 s"), (30.0, "within 30 s")])
def test_a_short_wait_is_not_called_none(waited_s: float, said: str) -> None:
    timeouts, clock = Timeouts(total_s=waited_s), Clock(0.0)
    selector, state = EndpointSelector(ENDPOINTS[:1], timeouts), RetryState(timeouts, clock, lambda: 0.5)
    clock.now_s = waited_s
    with pytest.raises(UnreachableError, match=said):
        selector.failed(ABSENT, 0, state)
