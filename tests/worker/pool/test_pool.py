"""The pool with real processes: they die, hang, raise and never start, and no job is lost."""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.encrypted.messages import ANSWER_CIPHERTEXT_BYTES, ChunkStatus
from securesplit.errors import BundleError, WorkerError
from securesplit.transport.poll import Poller
from securesplit.version import own_version
from securesplit.worker import key_store
from securesplit.worker.ipc.messages import ANSWERED, DONE, REFUSED, Report
from securesplit.worker.ipc.pipe import PipeError
from securesplit.worker.jobs import Job, JobResult, JobStatus
from securesplit.worker.key_store import KeyStore, StoredKey
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.pool import Pool, process
from securesplit.worker.pool.slot import Slot, SlotState
from securesplit.worker.settings import PoolSettings
from securesplit_testing.encryption import chunk_of
from securesplit_testing.engines import BABBLING, DEADLY, HANGING, NAN, RAISING
from securesplit_testing.serving import release, serve_engine, wait_until
from securesplit_testing.timing import took_less_than


class Driver:
    """Drives a pool as a front does."""

    def __init__(self, engine: str = "Moody", options: dict[str, Any] | None = None, **settings: Any) -> None:
        self._poller = Poller()
        self._refs = itertools.count()
        served = serve_engine(engine, **(options or {}))
        self.pool = Pool(served.engine, PoolSettings(**settings), self._poller, time.monotonic)
        self.results: list[JobResult] = []

    def submit(self, first: int, dtype: str = "int8", within_s: float = 60.0) -> Job:
        job = Job(
            (b"s", next(self._refs)), "a", {"int8": "compact", "int16": "certified"}[dtype], release(first, dtype), 0.0
        )
        job.expires_at = time.monotonic() + within_s
        assert self.pool.submit(job) is None
        return job

    def until(self, condition: Callable[[], bool], within_s: float = 20.0) -> None:
        def step() -> bool:
            self.results += self.pool.step(self._poller.wait(0.05))
            return condition()

        wait_until(step, within_s)

    def ready(self, workers: int = 1) -> None:
        self.until(lambda: self.pool.ready == workers)

    def statuses(self, *jobs: Job) -> list[JobStatus]:
        self.until(lambda: len({id(outcome.job) for outcome in self.results} & {id(job) for job in jobs}) == len(jobs))
        return [next(o.status for o in self.results if o.job is job) for job in jobs]


@pytest.fixture
def drive() -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def start(*arguments: Any, **settings: Any) -> Driver:
        drivers.append(Driver(*arguments, **settings))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.pool.close()


def test_jobs_of_all_presets_are_computed(drive: Callable[..., Driver]) -> None:
    driver = drive(workers=2)
    jobs = [driver.submit(n, dtype) for n in range(20) for dtype in ("int8", "int16")]
    assert set(driver.statuses(*jobs)) == {JobStatus.DONE}
    assert all(outcome.logit == outcome.job.release[0] for outcome in driver.results)
    assert len(driver.results) == len(jobs)
    assert (driver.pool.waiting, driver.pool.tails["busy"]) == (0, 0)


def test_a_tail_of_another_version_says_so_instead_of_starting(
    drive: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after an upgrade of the package beneath a front that runs."""
    monkeypatch.setattr(process, "own_version", lambda: "0.0.1")
    driver = drive(workers=1)
    driver.until(lambda: driver.pool.failure is not None)
    assert driver.pool.failure is not None
    assert f"it is {own_version()}, and this worker runs 0.0.1" in driver.pool.failure.message
    assert "restart the worker" in driver.pool.failure.hint
    assert "died while starting" in caplog.text
    assert f": {driver.pool.failure.message} (hint: {driver.pool.failure.hint})" in caplog.text


def test_batches_form_from_what_waits(drive: Callable[..., Driver], tmp_path: Path) -> None:
    driver = drive("Sum", {"pause_s": 0.2}, workers=1, max_batch=8, batch_s=1.0)
    driver.ready()
    start = time.monotonic()
    jobs = [driver.submit(n) for n in range(16)]
    driver.statuses(*jobs)
    took_less_than(16 * 0.2 / 2, start, "two batches of eight, not sixteen of one")


def test_a_busy_machine_does_not_make_batches_smaller(drive: Callable[..., Driver]) -> None:
    """A photo of the default network takes 1.4 ms in a batch, and twice that where others use the core."""
    driver, job = drive(workers=1), Job((b"s", 1), "a", "compact", release(1), 1e9)
    driver.pool._complete([job] * 2, Report(DONE, 0, np.ones(2, np.float32), 2 * 1.4))
    assert driver.pool._affordable("compact") == 4
    for _ in range(12):
        driver.pool._complete([job], Report(DONE, 0, np.ones(1, np.float32), 2.8))
    assert driver.pool._affordable("compact") == 3
    for _ in range(60):
        driver.pool._complete([job], Report(DONE, 0, np.ones(1, np.float32), 2.8))
    assert driver.pool._affordable("compact") == 2, "it is slower for good"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer to say what ended a process."""
    monkeypatch.setattr(process, "_EXIT_S", 10.0)


@pytest.mark.usefixtures("patient")
def test_a_dead_tail_is_replaced_and_its_jobs_done_by_others(
    drive: Callable[..., Driver], caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive("Sum", {"pause_s": 0.3}, workers=1)
    driver.ready()
    (pid,) = driver.pool.pids
    job = driver.submit(5)
    driver.until(lambda: driver.pool.waiting == 0)
    os.kill(pid, signal.SIGKILL)
    assert driver.statuses(job) == [JobStatus.DONE]
    assert driver.pool.pids != [pid]
    assert job.deaths == 1
    assert f"(process {pid}) died while busy (SIGKILL)" in caplog.text, "as the kernel does for want of memory"


def test_a_hung_tail_is_killed_and_replaced(drive: Callable[..., Driver]) -> None:
    driver = drive(workers=1, job_timeout_s=0.3, max_deaths=2)
    driver.ready()
    (pid,) = driver.pool.pids
    hanging, good = driver.submit(HANGING), driver.submit(4)
    assert driver.statuses(hanging, good) == [JobStatus.POISON, JobStatus.DONE]
    assert hanging.deaths == 2
    assert not Path(f"/proc/{pid}").exists() or _is_zombie(pid)


@pytest.mark.usefixtures("patient")
def test_poison_takes_three_tails_and_nobody_with_it(
    drive: Callable[..., Driver], caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive(workers=2)
    driver.ready(2)
    jobs = [driver.submit(n) for n in (1, 2, DEADLY, 3, 4)]
    assert driver.statuses(*jobs) == [JobStatus.DONE, JobStatus.DONE, JobStatus.POISON, JobStatus.DONE, JobStatus.DONE]
    assert jobs[2].deaths == 3
    assert driver.pool.deaths == 3
    assert caplog.text.count("died while busy (exit code ") == 3
    assert "a request cannot be computed: 3 tails died or hung over it" in caplog.text
    driver.ready(2)


@pytest.mark.parametrize("mood", [RAISING, NAN])
def test_an_exception_is_poison_for_its_own_job_only(drive: Callable[..., Driver], mood: int) -> None:
    driver = drive(workers=1)
    driver.ready()
    jobs = [driver.submit(n) for n in (1, mood, 2)]
    assert driver.statuses(*jobs) == [JobStatus.DONE, JobStatus.POISON, JobStatus.DONE]
    assert driver.pool.deaths == 0


def test_what_nobody_waits_for_is_dropped(drive: Callable[..., Driver]) -> None:
    driver = drive("Sum", {"pause_s": 0.3}, workers=1, max_batch=1)
    driver.ready()
    jobs = [driver.submit(1), driver.submit(2, within_s=0.05)]
    assert driver.statuses(*jobs) == [JobStatus.DONE, JobStatus.EXPIRED]


def test_a_full_queue_refuses(drive: Callable[..., Driver]) -> None:
    driver = drive(workers=1, queue_limit=3)
    jobs = [driver.submit(n) for n in range(3)]
    assert driver.pool.submit(jobs[0]) is jobs[0]
    assert set(driver.statuses(*jobs)) == {JobStatus.DONE}


def test_an_engine_that_cannot_start_fails_its_jobs_with_a_reason(drive: Callable[..., Driver]) -> None:
    driver = drive("broken", workers=1)
    job = driver.submit(1)
    assert driver.statuses(job) == [JobStatus.POISON]
    assert isinstance(driver.pool.failure, BundleError)
    assert driver.pool.failure.message == "tail.tflite was altered"
    assert driver.pool.failure.hint


@pytest.mark.usefixtures("patient")
def test_silently_dying_tails_are_restarted_with_back_off(drive: Callable[..., Driver]) -> None:
    driver = drive("suicidal", workers=1, backoff_s=0.05)
    driver.until(lambda: driver.pool.failure is not None)
    assert isinstance(driver.pool.failure, WorkerError)
    assert "while they were starting (exit code" in driver.pool.failure.message
    assert "--log-level debug" in driver.pool.failure.hint
    assert driver.pool.deaths <= 4


@pytest.mark.usefixtures("patient")
def test_tails_that_the_system_kills_at_their_start_lack_memory(drive: Callable[..., Driver]) -> None:
    driver = drive(workers=1, backoff_s=0.05)
    killed: set[int] = set()

    def over() -> bool:
        for pid in set(driver.pool.pids) - killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return driver.pool.failure is not None

    driver.until(over)
    assert isinstance(driver.pool.failure, WorkerError)
    assert driver.pool.failure.message == "the tails died while they were starting (SIGKILL)"
    assert "memory" in driver.pool.failure.hint


def test_waiting_jobs_survive_tails_that_die_at_start(drive: Callable[..., Driver]) -> None:
    """A burst of kills, or a machine that is out of memory for a while, is no reason to give up what waits."""
    driver = drive(workers=1, backoff_s=0.05)
    driver.ready()
    job = driver.submit(7)
    for _ in range(4):
        driver.until(lambda: bool(driver.pool.pids))
        os.kill(driver.pool.pids[0], signal.SIGKILL)
        deaths = driver.pool.deaths
        driver.until(lambda deaths=deaths: driver.pool.deaths > deaths)
        assert driver.pool.failure is None
    assert driver.statuses(job) == [JobStatus.DONE]


def test_a_tail_without_a_free_descriptor_is_started_later(drive: Callable[..., Driver]) -> None:
    driver = drive(workers=1, backoff_s=0.05)
    driver.ready()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        os.kill(driver.pool.pids[0], signal.SIGKILL)
        driver.until(lambda: not driver.pool.pids)
        job = driver.submit(7)
        end = time.monotonic() + 0.5
        driver.until(lambda: time.monotonic() > end)
        assert driver.pool.failure is None
        assert driver.results == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert driver.statuses(job) == [JobStatus.DONE]


def test_keys_with_which_a_tail_died_keep_their_place(
    drive: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request is computed again; else its device would upload 27 MB again."""
    monkeypatch.setattr(key_store, "LEAST_KEY_BYTES", 1_000)
    mine, other = bytes(2_000), bytes([1]) * 2_000
    name, digest = ("a", hashlib.sha256(mine).digest()), hashlib.sha256(other).digest()
    keys = KeyStore(mmap.PAGESIZE, time.monotonic, Counters())
    keys.add("a", chunk_of(mine, name[1], 0))
    driver = drive(workers=1)
    driver.ready()
    driver.pool._keys, driver.pool._slots[0].key = keys, keys.pin(*name)
    os.kill(driver.pool.pids[0], signal.SIGKILL)
    driver.until(lambda: driver.pool.deaths == 1)
    assert keys.add("b", chunk_of(other, digest, 0)).status is ChunkStatus.NO_ROOM
    pinned = keys.pin(*name)
    assert pinned is not None
    keys.unpin(pinned)
    assert keys.add("b", chunk_of(other, digest, 0)).status is ChunkStatus.GO_ON
    keys.close()


def test_a_tail_that_hangs_while_it_starts_is_replaced(drive: Callable[..., Driver]) -> None:
    driver = drive(workers=1)
    (pid,) = driver.pool.pids
    os.kill(pid, signal.SIGSTOP)
    driver.pool._slots[0].until = time.monotonic() + 0.2
    driver.ready()
    assert driver.pool.pids != [pid]


def test_a_tail_that_speaks_nonsense_is_replaced(drive: Callable[..., Driver]) -> None:
    """What a release might make of a tail can reach the front as bytes only, and bytes are checked."""
    driver = drive(workers=1, max_deaths=2)
    driver.ready()
    babbling, good = driver.submit(BABBLING), driver.submit(4)
    assert driver.statuses(babbling, good) == [JobStatus.POISON, JobStatus.DONE]
    assert babbling.deaths == 2


def test_a_batch_for_a_stopped_tail_blocks_no_other(drive: Callable[..., Driver]) -> None:
    """More than the system keeps for a reader: it is written bit by bit, once the tail reads again."""
    driver = drive(workers=1, max_batch=32, batch_s=60.0, job_timeout_s=20.0)
    driver.ready()
    large = np.zeros(100_000, "int8")
    jobs = [driver.submit(1) for _ in range(8)]
    for job in jobs:
        job.release = large
    os.kill(driver.pool.pids[0], signal.SIGSTOP)
    start = time.monotonic()
    driver.until(lambda: driver.pool.waiting == 0)
    took_less_than(5, start)
    os.kill(driver.pool.pids[0], signal.SIGCONT)
    assert set(driver.statuses(*jobs)) == {JobStatus.DONE}
    assert driver.pool.deaths == 0


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_tail_that_answers_another_kind_of_question_is_given_up(encrypted: bool) -> None:
    """A subverted one might: numbers to a ciphertext would end the front."""
    job = Job((b"s", 1), "a", "p", release(1), 1e9)
    key = StoredKey("a", bytes(32), 1, 0) if encrypted else None
    slot = Slot(state=SlotState.BUSY, batch=[job], number=7, key=key)
    numbers = Report(DONE, 7, np.ones(1, np.float32))
    others = [Report(ANSWERED, 7, ciphertext=bytes(ANSWER_CIPHERTEXT_BYTES)), Report(REFUSED, 7, reason="no")]
    assert slot.is_answered_by(numbers) is not encrypted
    assert [slot.is_answered_by(other) for other in others] == [encrypted] * 2
    for report in (numbers, *others):
        assert not slot.is_answered_by(replace(report, batch=6))
        if not slot.is_answered_by(report):
            with pytest.raises(PipeError):
                Pool._note(object.__new__(Pool), slot, report)
