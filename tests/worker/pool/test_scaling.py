"""How many tails there should be, from what waits and what computes; and a real pool that follows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from securesplit.errors import ConfigError
from securesplit.worker.pool.scaling import Scaling
from securesplit.worker.settings import PoolSettings
from tests.worker.pool.test_pool import Driver, drive

__all__ = ["drive"]


class SimulatedPool:
    """A pool that does what it is told, seen ten times a second."""

    def __init__(self, least: int = 1, most: int = 8) -> None:
        self.scaling, self.now, self.tails = Scaling(least, most, quiet_s=10.0, backlog=8), 0.0, least

    def after(self, seconds: float, **seen: int) -> int:
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            state = {"starting": 0, "busy": 0, "waiting": 0, **seen}
            self.tails = self.scaling.wanted(self.now, tails=self.tails, **state)
        return self.tails


def test_a_burst_adds_none_and_a_backlog_doubles_them_up_to_the_most() -> None:
    pool = SimulatedPool()
    assert pool.after(0.4, busy=1, waiting=100) == 1
    assert pool.after(0.2) == 1, "the burst is over"
    assert pool.after(0.6, busy=1, waiting=100) == 2
    assert pool.after(5.0, busy=1, waiting=100, starting=1) == 2, "the new one cannot compute yet"
    assert pool.after(0.1, busy=2, waiting=100) == 4
    assert pool.after(0.1, busy=4, waiting=3) == 5, "no more than the backlog is worth"
    assert pool.after(1.0, busy=5, waiting=1_000) == 8


def test_a_quiet_time_takes_away_what_nobody_needed() -> None:
    pool = SimulatedPool()
    pool.after(2.0, busy=8, waiting=1_000)
    assert pool.tails == 8
    assert pool.after(9.8, busy=3) == 8
    assert pool.after(0.5, busy=3) == 3
    assert pool.after(20.0, busy=3) == 3, "all of them are needed"
    assert pool.after(25.0) == 1, "never fewer than there always are"


def test_without_a_most_their_number_never_changes() -> None:
    pool = SimulatedPool(least=2, most=0)
    assert pool.after(30.0, busy=2, waiting=1_000) == 2
    assert pool.after(30.0) == 2


def test_a_most_below_the_least_is_refused() -> None:
    with pytest.raises(ConfigError, match="fewer than the 4"):
        PoolSettings(workers=4, most_workers=3)


def test_a_pool_grows_while_jobs_wait_and_shrinks_when_none_do(drive: Callable[..., Driver]) -> None:
    driver = drive("Sum", {"pause_s": 0.05}, workers=1, most_workers=3, quiet_s=0.5, max_batch=1)
    driver.ready()
    jobs = [driver.submit(n) for n in range(60)]
    driver.until(lambda: driver.pool.ready == 3)
    driver.statuses(*jobs)
    driver.until(lambda: sum(driver.pool.tails.values()) == 1)
    assert driver.statuses(driver.submit(7)), "the one that is left computes"
    assert driver.pool.deaths == 0
