"""The pool of tails: jobs in, results out, whatever happens to the tails.

Invariants:

- A tail has at most one batch; a batch is whatever waits when a tail is free, shared out among all free tails, no more
  than takes `batch_s`, and a lone job never waits for company.
- A batch whose tail died or hung is given back, and its jobs then run alone. A job that took `max_deaths` tails with
  it, or that failed alone, is poison.
- While no tail can start at all, `failure` says why and what waits is given up. Deaths without a report count only
  before the first tail was ready; later they may pass, and what waits keeps waiting until its client's deadline.
- A ciphertext is a batch of its own. Its keys are pinned while a tail computes with them; where they are not held any
  more, its client is told so. It goes to a free tail that has its keys loaded, if there is one.
- Nothing here blocks: the owner waits with its `Poller` and calls `step`.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import sys
from collections.abc import Callable, Collection
from math import ceil, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit import errors
from securesplit.encrypted.messages import PRESET, Request
from securesplit.errors import ConfigError, SecureSplitError, WorkerError
from securesplit.text import counted, log_counted
from securesplit.transport.poll import Poller, Source
from securesplit.worker.cores import places
from securesplit.worker.ipc import messages
from securesplit.worker.ipc.messages import Batch, EncryptedBatch, Report
from securesplit.worker.ipc.pipe import PipeError
from securesplit.worker.jobs import Job, JobResult, JobStatus
from securesplit.worker.key_store import KeyStore
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.log_throttle import LogThrottle
from securesplit.worker.pool.process import LocalTails
from securesplit.worker.pool.ray_tails import RayTails
from securesplit.worker.pool.scaling import Scaling
from securesplit.worker.pool.slot import Slot, SlotState
from securesplit.worker.pool.tails import Tail, Tails
from securesplit.worker.scheduling import FairQueue
from securesplit.worker.settings import EngineSpec, PoolSettings

_log = logging.getLogger(__name__)
_SWEEP_S = 0.1
_SILENT_DEATHS = 2
_KILLED = "the system kills what has no memory: allow more (MemoryMax, the container's limit), or give fewer --workers"
_FORGET = 1.02  # a job's best pace grows by so much a batch, unless it is seen again
_LOAD_KEY_S = 20.0
"""What a tail may take to load evaluation keys besides; half a second of a free core's time."""


class Pool:
    """Tails and the jobs that wait for them.

    Args:
        engine: what the tails run.
        settings: bounds and patience.
        poller: where the pool's socket and processes are watched.
        clock: seconds, rising.
        counters: where batches, starts and deaths are counted.
        keys: evaluation keys, where the engine takes ciphertexts.

    Attributes:
        failure: why no tail can start; None while one may.
        deaths: tails that were lost.
        confinement: layers that hold for the latest tail that became ready (``sandbox/``); None before the first.

    Raises:
        ConfigError: the tails' engine cannot be used here, or there is no Python to run it.
    """

    def __init__(
        self,
        engine: EngineSpec,
        settings: PoolSettings,
        poller: Poller,
        clock: Callable[[], float],
        counters: Counters | None = None,
        keys: KeyStore | None = None,
    ) -> None:
        self._settings, self._poller, self._clock = settings, poller, clock
        self._counters, self._keys = counters or Counters(), keys
        self._queue = FairQueue(settings.queue_limit)
        self._numbers = itertools.count()
        self._pace_s: dict[str, float] = {}
        self._killed: list[Tail] = []
        self._results: list[JobResult] = []
        self._swept_at = clock()
        self._refused, self._failed = LogThrottle(clock), LogThrottle(clock)
        self.failure: SecureSplitError | None = None
        self.deaths = 0
        self.confinement: tuple[str, ...] | None = None
        self._has_served = False
        self._tails = _tails(engine, settings, keys)
        self._scaling = Scaling(settings.workers, settings.most_workers, settings.quiet_s, settings.max_batch)
        cores = places(settings.workers) if settings.pin else [None] * settings.workers
        self._slots = [Slot(core) for core in cores]
        for slot in self._slots:
            self._start(slot)

    @property
    def ready(self) -> int:
        """How many tails can compute."""
        return sum(slot.state in (SlotState.IDLE, SlotState.BUSY) for slot in self._slots)

    @property
    def tails(self) -> dict[str, int]:
        """How many tails are in each state, zeros included, by its value; safe from any thread."""
        states = [slot.state for slot in list(self._slots)]
        return {state.value: states.count(state) for state in SlotState}

    @property
    def waiting(self) -> int:
        """How many jobs wait for a tail."""
        return len(self._queue)

    @property
    def pids(self) -> list[int]:
        """The processes of the pool, each once."""
        return list(self._processes)

    @property
    def resident_bytes(self) -> list[int]:
        """The resident memory of each of these processes, 0 where the system does not tell; safe from any thread."""
        return [tail.resident_bytes() for tail in self._processes.values()]

    @property
    def _processes(self) -> dict[int, Tail]:
        """A tail of each process, by its id."""
        return {tail.pid: tail for slot in list(self._slots) if (tail := slot.tail) is not None}

    def submit(self, job: Job) -> Job | None:
        """Take on a job; returns the one that has no place where too many wait, this or another one."""
        return self._queue.put(job)

    def shed(self) -> Job | None:
        """A job that has to make room, where those that wait take too much memory."""
        return self._queue.shed()

    def step(self, ready: Collection[Source] = ()) -> list[JobResult]:
        """Do all that can be done now.

        Args:
            ready: what the poller has found readable.

        Returns:
            the jobs that have ended since the last step.
        """
        now = self._clock()
        for slot in self._slots:
            if slot.tail is not None and slot.tail in ready:
                self._read_reports(slot, slot.tail)
            if slot.state in (SlotState.STARTING, SlotState.BUSY) and now >= slot.until:
                self._handle_exit(slot, "hung")
            elif slot.state is SlotState.BACKOFF and now >= slot.until:
                self._start(slot)
        if now - self._swept_at >= _SWEEP_S:
            self._swept_at = now
            self._results += [JobResult(job, JobStatus.EXPIRED) for job in self._queue.drop_expired(now)]
            self._killed = [tail for tail in self._killed if not tail.is_gone()]
            self._scale(now)
        self._dispatch(now)
        if self.failure is not None:
            self._results += [JobResult(job, JobStatus.POISON) for job in self._queue.take_all()]
        results, self._results = self._results, []
        return results

    def close(self) -> None:
        """End all tails, finished or not."""
        for slot in self._slots:
            if slot.tail is not None:
                self._discard(slot.tail)
        for tail in self._killed:
            tail.wait()
        self._tails.close()

    def _scale(self, now: float) -> None:
        """Have as many tails as are needed now; idle ones go, the last one first."""
        states = [slot.state for slot in self._slots]
        busy = states.count(SlotState.BUSY)
        starting = len(states) - busy - states.count(SlotState.IDLE)
        wanted = self._scaling.wanted(now, tails=len(states), starting=starting, busy=busy, waiting=len(self._queue))
        idle = [slot for slot in reversed(self._slots) if slot.state is SlotState.IDLE]
        for slot in idle[: max(0, len(states) - wanted)]:
            self._slots.remove(slot)
            if slot.tail is not None:
                self._discard(slot.tail)
        for _ in range(wanted - len(states)):
            self._slots.append(Slot())
            self._start(self._slots[-1])
        if wanted != len(states):
            fields = {"before": len(states), "now": len(self._slots), "waiting": len(self._queue)}
            text = f"{log_counted('now', len(self._slots), 'tail')} instead of %(before)d"
            _log.info(text, fields, extra={"event": "tails-scaled"})

    def _start(self, slot: Slot) -> None:
        name = f"tail-{next(self._numbers)}"
        try:
            tail = self._tails.start(name, slot.core)
        except OSError as error:
            self._back_off(slot, error)
        else:
            self._poller.add(tail)
            self._counters.tail_starts += 1
            slot.started(tail, until=self._clock() + self._settings.start_timeout_s)

    def _back_off(self, slot: Slot, error: OSError) -> None:
        """The system has no room for a tail now; try again after a pause."""
        _log.warning("a tail cannot be started: %(why)s", {"why": error.strerror}, extra={"event": "tail-not-started"})
        pause_s = max(self._settings.backoff_s, slot.died(self._settings.backoff_s, self._settings.backoff_cap_s))
        slot.until = self._clock() + pause_s
        if not self._has_served and slot.failed_starts >= _SILENT_DEATHS:
            hint = "allow more processes, memory and open files (ulimit -a)"
            self.failure = WorkerError(f"a tail cannot be started ({error.strerror})", hint=hint)

    def _discard(self, tail: Tail) -> None:
        self._poller.remove(tail)
        tail.kill()
        self._killed.append(tail)

    def _read_reports(self, slot: Slot, tail: Tail) -> None:
        """Take the reports of a tail, and notice that it is dead."""
        try:
            for report in tail.receive():
                self._note(slot, report)
        except PipeError:
            self._handle_exit(slot, "died")
            return
        if tail.must_write:
            tail.flush()
            self._poller.watch(tail, writes=tail.must_write)

    def _note(self, slot: Slot, report: Report) -> None:
        """Accept a report that fits what its tail was sent.

        Raises:
            PipeError: it does not.
        """
        match slot.state, report.event:
            case SlotState.STARTING, messages.READY:
                self.failure = None
                self._has_served = True
                self.confinement = tuple(report.reason.split())
                slot.ready()
            case SlotState.STARTING, messages.BROKEN:
                slot.start_error = _start_error(report)
            case SlotState.BUSY, messages.DONE if slot.is_answered_by(report):
                self._complete(slot.finished(), report)
            case SlotState.BUSY, messages.ANSWERED | messages.REFUSED if slot.is_answered_by(report):
                self._complete_encrypted(slot, report)
            case SlotState.BUSY, messages.FAILED if report.batch == slot.number:
                self._unpin(slot)
                self._give_up(slot.finished(), report.reason)
            case _:
                raise PipeError("a tail reports something that it was not asked")

    def _complete(self, jobs: list[Job], report: Report) -> None:
        share, preset = report.milliseconds / len(jobs), jobs[0].preset
        self._pace_s[preset] = min(share / 1_000, _FORGET * self._pace_s.get(preset, inf))
        self._results += [
            JobResult(j, JobStatus.DONE, float(x), share) for j, x in zip(jobs, report.logits, strict=True)
        ]

    def _complete_encrypted(self, slot: Slot, report: Report) -> None:
        self._unpin(slot)
        (job,) = slot.finished()
        if report.event == messages.REFUSED:
            if self._refused.is_due():
                fields = {"client": job.client, "why": report.reason}
                text = "refused a ciphertext or the keys of client %(client)s: %(why)s"
                _log.warning(text, fields, extra={"event": "ciphertext-refused"})
            self._results.append(JobResult(job, JobStatus.REFUSED))
            return
        self._results.append(JobResult(job, JobStatus.DONE, tail_ms=report.milliseconds, ciphertext=report.ciphertext))

    def _unpin(self, slot: Slot, *, has_served: bool = True) -> None:
        """The tail has finished with the keys that it used, or is gone and they have not served."""
        if self._keys is not None and slot.key is not None:
            self._keys.unpin(slot.key, has_served=has_served)
        slot.key = None

    def _give_up(self, jobs: list[Job], reason: str) -> None:
        """What failed in company is tried alone; what failed alone is poison."""
        if len(jobs) > 1:
            for job in jobs:
                self._queue.give_back(job)
            return
        self._poison(jobs[0], reason)

    def _poison(self, job: Job, reason: str) -> None:
        if self._failed.is_due():
            fields = {"reason": reason}
            _log.warning("a request cannot be computed: %(reason)s", fields, extra={"event": "request-failed"})
        self._results.append(JobResult(job, JobStatus.POISON))

    def _handle_exit(self, slot: Slot, how: str) -> None:
        tail, state = slot.tail, slot.state
        assert tail is not None  # noqa: S101  (states with a process only)
        self.deaths += 1
        self._counters.tail_deaths[how] += 1
        cause = tail.exit_cause() if how == "died" else ""
        _log_loss(slot, tail, how, cause)
        if state is SlotState.STARTING:
            self.failure = self._failure_of(slot, how, cause)
        self._discard(tail)
        self._unpin(slot, has_served=False)
        for job in slot.batch:
            job.deaths += 1
            if job.deaths >= self._settings.max_deaths:
                self._poison(job, f"{counted(job.deaths, 'tail')} died or hung over it")
            else:
                self._queue.give_back(job)
        pause = slot.died(self._settings.backoff_s, self._settings.backoff_cap_s)
        slot.until = self._clock() + pause
        if not pause:
            self._start(slot)

    def _failure_of(self, slot: Slot, how: str, cause: str) -> SecureSplitError | None:
        """Why no tail can start, as far as is known: a tail's own report, or that several died without one."""
        if self.ready or slot.tail is None:
            return None
        if slot.start_error is None and slot.failed_starts >= _SILENT_DEATHS and not self._has_served:
            hint = _KILLED if cause == "SIGKILL" else "see why with --log-level debug"
            return WorkerError(f"the tails {how} while they were starting{_by(cause)}", hint=hint)
        return slot.start_error

    def _dispatch(self, now: float) -> None:
        free = [slot for slot in self._slots if slot.state is SlotState.IDLE]
        while free and len(self._queue):
            share = min(self._settings.max_batch, ceil(len(self._queue) / len(free)))
            jobs = []
            for job in self._queue.take(share, self._affordable):
                if job.expires_at <= now:
                    self._results.append(JobResult(job, JobStatus.EXPIRED))
                else:
                    jobs.append(job)
            if jobs and isinstance(jobs[0].release, Request):
                self._send_encrypted(free, jobs[0], jobs[0].release, now)
            elif jobs:
                slot = free.pop()
                self._send(slot, jobs, Batch(next(self._numbers), jobs[0].preset, _stack(jobs)), now)

    def _send_encrypted(self, free: list[Slot], job: Job, request: Request, now: float) -> None:
        """Hand a ciphertext to one of the free tails, if its keys are still held."""
        key = None if self._keys is None else self._keys.pin(job.owner, request.digest)
        if key is None:
            self._results.append(JobResult(job, JobStatus.KEY_NEEDED))
            return
        slot = next((slot for slot in free if request.digest in slot.loaded), free[-1])
        free.remove(slot)
        load_s = 0.0 if request.digest in slot.loaded else _LOAD_KEY_S
        slot.uses(key)
        place = (key.offset, key.total, key.digest)
        batch = EncryptedBatch(next(self._numbers), request.photos, *place, request.ciphertext)
        self._send(slot, [job], batch, now + load_s)

    def _affordable(self, preset: str) -> int:
        """How many jobs of a preset a batch may hold so that its tail is free again soon.

        By the best pace of late: on cores that others use a job takes longer, and small batches would make that worse.
        """
        if preset == PRESET:
            return 1
        return max(1, int(self._settings.batch_s / max(1e-6, self._pace_s.get(preset, 0.0))))

    def _send(self, slot: Slot, jobs: list[Job], batch: Batch | EncryptedBatch, until: float) -> None:
        self._counters.batch.observe(len(jobs))
        for job in jobs:
            job.taken = self._clock()
        assert slot.tail is not None  # noqa: S101  (an idle slot has one)
        slot.busy(jobs, batch.number, until=until + self._settings.job_timeout_s)
        slot.tail.send(batch)
        if slot.tail.must_write:
            self._poller.watch(slot.tail, writes=True)


def _tails(engine: EngineSpec, settings: PoolSettings, keys: KeyStore | None) -> Tails:
    if shutil.which(sys.executable or "") is None:  # a program that embeds Python may have none, or say a wrong one
        hint = "set sys.executable to a Python that has securesplit before the worker is made"
        raise ConfigError(f"there is no Python to start tails with: sys.executable is {sys.executable!r}", hint=hint)
    arena = None if keys is None else keys.arena
    return LocalTails(engine, settings, arena) if settings.ray is None else RayTails(engine, settings, arena)


def _stack(jobs: list[Job]) -> NDArray[Any]:
    """The releases of a batch; a lone one, the usual case, is not copied."""
    releases = [job.release for job in jobs if not isinstance(job.release, Request)]
    return releases[0][np.newaxis] if len(releases) == 1 else np.stack(releases)


def _by(cause: str) -> str:
    return f" ({cause})" if cause else ""


def _log_loss(slot: Slot, tail: Tail, how: str, cause: str) -> None:
    """Say that a tail is gone, what ended it, and why it could not start, if it could tell."""
    text = f"%(tail)s (process %(pid)d) %(how)s while %(state)s{_by(cause)}"
    fields: dict[str, str | int] = {"tail": tail.name, "pid": tail.pid, "how": how, "state": slot.state.value}
    fields["cause"] = cause
    if slot.state is SlotState.STARTING and (error := slot.start_error) is not None:
        text += ": %(why)s (hint: %(hint)s)"
        fields |= {"why": error.message, "hint": error.hint}
    _log.warning(text, fields, extra={"event": "tail-lost"})


def _start_error(report: Report) -> SecureSplitError:
    """Why a tail cannot start, as an error of ours."""
    kind = getattr(errors, report.error, None)
    if isinstance(kind, type) and issubclass(kind, SecureSplitError):
        return kind(report.reason, hint=report.hint)
    return WorkerError(f"a tail cannot start ({report.error}: {report.reason})", hint="check the installation")
