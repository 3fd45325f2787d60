"""Where a session stands, a release is written down while the head computes it, and taken back if it does not leave."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit import AsyncClient, Bundle, Client, Diagnosis, Refusal
from securesplit.channel.frames import Frame, FrameType
from securesplit.device import ledger
from securesplit.device.charging import Account, Charge, taken_back_on_error, written_down
from securesplit.device.ledger import Ledger
from securesplit.device.release_step import Releaser
from securesplit.errors import BudgetError, SecureSplitError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.pki import keystore
from securesplit.worker.served_model import ServedModel
from securesplit_testing.serving import Running, now, running, wait_until
from tests.integration.conftest import counted
from tests.transport.middleman import middleman

PHOTOS = [draw_lesion(seed, 160) for seed in (1, 2, 3)]
Outcome = Diagnosis | Refusal | SecureSplitError
Happens = dict[int, Callable[[], None]]
"""While the head is at the photo of that number."""


@pytest.fixture(scope="module")
def worker(certs: Path) -> Iterator[Running]:
    keys = keystore.load_server(certs, now=now()), keystore.load_client(certs, now=now())
    with running(ServedModel.from_bundle(None), keys=keys) as started:
        yield started


@pytest.fixture
def at_head(monkeypatch: pytest.MonkeyPatch) -> Happens:
    happens: Happens = {}
    numbers = iter(range(1_000))
    release_loaded = Releaser.release_loaded

    def watched(self: Releaser, *given: Any, **named: Any) -> Any:
        happens.get(next(numbers), lambda: None)()
        return release_loaded(self, *given, **named)

    monkeypatch.setattr(Releaser, "release_loaded", watched)
    return happens


def ask(endpoint: str, photos: list[Any], **options: Any) -> list[Outcome]:
    """One after the other, over one session."""
    ends: list[Outcome] = []
    with Client(endpoint, **{"privacy": "certified"} | options) as client:
        for photo in photos:
            try:
                ends.append(client.diagnose(photo))
            except SecureSplitError as error:
                ends.append(error)
    return ends


def ask_by_asyncio(endpoint: str, photos: list[Any], **options: Any) -> list[Outcome]:
    async def scenario() -> list[Outcome]:
        ends: list[Outcome] = []
        async with AsyncClient(endpoint, **{"privacy": "certified"} | options) as client:
            for photo in photos:
                try:
                    ends.append(await client.diagnose(photo))
                except SecureSplitError as error:
                    ends.append(error)
        return ends

    return asyncio.run(scenario())


BOTH = pytest.mark.parametrize("ask", [ask, ask_by_asyncio])


def soon(state: Path, rows: int) -> bool:
    """Whether so many rows are on the disk within a few seconds."""
    end = time.monotonic() + 5.0
    while counted(state) != rows and time.monotonic() < end:
        time.sleep(0.005)
    return counted(state) == rows


@BOTH
@pytest.mark.parametrize("privacy", ["none", "certified"])
def test_the_disk_is_written_while_the_head_computes(
    ask: Any, privacy: str, worker: Running, certs: Path, tmp_path: Path, at_head: Happens
) -> None:
    seen: list[bool] = []
    at_head[0] = lambda: seen.append(counted(tmp_path) == 0)
    at_head[1] = lambda: seen.append(soon(tmp_path, 2))
    ends = ask(worker.front.endpoint, PHOTOS[:2], state=tmp_path, certs=certs, privacy=privacy)
    assert seen == [True, True], "the first meets no worker yet, the second does"
    assert [end.privacy.releases for end in ends] == [1, 1]
    assert counted(tmp_path) == 2


@BOTH
def test_a_refused_photo_is_not_counted(
    ask: Any, worker: Running, certs: Path, tmp_path: Path, at_head: Happens
) -> None:
    """Neither where its pixels tell, and nothing is written, nor where the gate does, and it is taken back."""
    dark = PHOTOS[0] // 10
    seen: list[bool] = []
    skinless = np.random.default_rng(1).integers(0, 255, (160, 160, 3), np.uint8)
    at_head[1] = lambda: seen.append(counted(tmp_path) == 1)
    at_head[2] = lambda: seen.append(soon(tmp_path, 2))
    ends = ask(worker.front.endpoint, [PHOTOS[0], dark, skinless], state=tmp_path, certs=certs)
    assert isinstance(ends[1], Refusal)
    assert isinstance(ends[2], Refusal)
    assert ends[2].reason == "not-skin"
    assert seen == [True, True]
    assert counted(tmp_path) == 1
    with Ledger(tmp_path) as book:
        assert [total.releases for total in book.totals()] == [1, 1]


def test_a_cancelled_diagnosis_is_not_counted(worker: Running, certs: Path, tmp_path: Path, at_head: Happens) -> None:
    async def scenario() -> None:
        options = {"state": tmp_path, "certs": certs, "privacy": "certified"}
        async with AsyncClient(worker.front.endpoint, **options) as client:
            await client.diagnose(PHOTOS[0])
            loop = asyncio.get_running_loop()
            task = asyncio.ensure_future(client.diagnose(PHOTOS[1]))
            at_head[1] = lambda: soon(tmp_path, 2) and loop.call_soon_threadsafe(task.cancel) and time.sleep(0.1)
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())
    assert counted(tmp_path) == 1


def test_an_interrupted_diagnosis_is_not_counted(
    worker: Running, certs: Path, tmp_path: Path, at_head: Happens
) -> None:
    def interrupt() -> None:
        assert soon(tmp_path, 2)
        raise KeyboardInterrupt

    at_head[1] = interrupt
    with Client(worker.front.endpoint, state=tmp_path, certs=certs, privacy="certified") as client:
        client.diagnose(PHOTOS[0])
        with pytest.raises(KeyboardInterrupt):
            client.diagnose(PHOTOS[1])
    assert counted(tmp_path) == 1


@BOTH
def test_with_a_budget_nothing_is_written_that_may_be_taken_back(
    ask: Any, worker: Running, certs: Path, tmp_path: Path, at_head: Happens
) -> None:
    """Or a photo that is refused would use up what another one needs at that moment."""
    seen: list[int] = []
    at_head[1] = lambda: (time.sleep(0.1), seen.append(counted(tmp_path)))[1]
    ask(worker.front.endpoint, PHOTOS[:2], state=tmp_path, certs=certs, budget=1e9)
    assert seen == [1]
    assert counted(tmp_path) == 2


@BOTH
def test_what_cannot_be_written_early_is_not_sent(
    ask: Any, worker: Running, certs: Path, tmp_path: Path, at_head: Happens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LOCK_WAIT_S", 0.05)
    done, load = worker.front.counters.requests["done"], Releaser.load
    with closing(sqlite3.connect(tmp_path / ledger.LEDGER_FILE, check_same_thread=False)) as other:
        locks = iter([lambda: None, lambda: other.execute("BEGIN EXCLUSIVE")])
        monkeypatch.setattr(Releaser, "load", lambda *given: (next(locks)(), load(*given))[1])
        ends = ask(worker.front.endpoint, PHOTOS[:2], state=tmp_path, certs=certs)
    assert isinstance(ends[1], BudgetError)
    assert "cannot be used: database is locked" in ends[1].message
    assert worker.front.counters.requests["done"] == done + 1
    assert counted(tmp_path) == 1


def test_what_cannot_be_taken_back_stays_counted(
    worker: Running, certs: Path, tmp_path: Path, at_head: Happens, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(ledger, "LOCK_WAIT_S", 0.05)
    with closing(sqlite3.connect(tmp_path / ledger.LEDGER_FILE, check_same_thread=False)) as other:

        def locked() -> None:
            assert soon(tmp_path, 2)
            other.execute("BEGIN EXCLUSIVE")
            raise KeyboardInterrupt

        at_head[1] = locked
        with caplog.at_level(logging.WARNING, "securesplit.privacy"), pytest.raises(KeyboardInterrupt):
            ask(worker.front.endpoint, PHOTOS[:2], state=tmp_path, certs=certs)
    assert "stays counted" in caplog.text
    assert counted(tmp_path) == 2


@BOTH
def test_nothing_leaves_before_a_slow_disk_has_its_row(
    ask: Any, worker: Running, certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend_together = Ledger.spend_together

    def slowly(self: Ledger, *given: Any, **named: Any) -> Any:
        time.sleep(0.2)  # longer than the head
        return spend_together(self, *given, **named)

    monkeypatch.setattr(Ledger, "spend_together", slowly)
    on_the_wire: list[int] = []

    def watch(_: Frame) -> list[bytes]:
        on_the_wire.append(counted(tmp_path))
        return []

    with middleman(worker.front.endpoint, FrameType.REQ, watch, beside=True) as between:
        ends = ask(between.endpoint, PHOTOS, state=tmp_path, certs=certs)
    assert all(isinstance(end, Diagnosis) for end in ends)
    assert on_the_wire == [2, 3], "the first left with the handshake"


def test_photos_that_leave_together_wait_for_the_disk_once(tmp_path: Path) -> None:
    with closing(Account(Releaser(Bundle.load(), bytes(32), privacy="certified"), Ledger(tmp_path), None)) as account:
        assert account._ledger is not None
        statements: list[str] = []
        account._ledger._db.set_trace_callback(statements.append)
        entries = [entry for photo in PHOTOS for entry in account.charge(photo).entries]
        Charge(account, entries)()
    assert statements.count("COMMIT") == 1
    assert [entry.found and entry.found.releases for entry in entries] == [1, 1, 1]
    assert counted(tmp_path) == 3


def interrupted(charge: Charge, *before: Callable[[Charge], object]) -> None:
    with taken_back_on_error(charge):
        for step in before:
            step(charge)
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize("leaves", [Charge.__call__, lambda charge: asyncio.run(written_down(charge))])
def test_what_may_have_left_stays_counted_whatever_follows(
    tmp_path: Path, is_early: bool, leaves: Callable[[Charge], None]
) -> None:
    """No answer comes, say, or somebody presses Ctrl-C while it is waited for."""
    with closing(Account(Releaser(Bundle.load(), bytes(32), privacy="certified"), Ledger(tmp_path), None)) as account:
        early = [Charge.write_early] if is_early else []
        for photo, before in zip(PHOTOS, ([*early, leaves], early), strict=False):
            with pytest.raises(KeyboardInterrupt):
                interrupted(account.charge(photo), *before)
    assert counted(tmp_path) == 1


ENDLESS = """
import sys
from securesplit import Client
from securesplit.device.release_step import Releaser
from securesplit.imaging.synthetic import draw_lesion
endpoint, certs, state, stop_at = sys.argv[1:]
photo, release_loaded = draw_lesion(1, 160).copy(), Releaser.release_loaded
def stopped(self, loaded):
    if number == int(stop_at):
        print("at the head", flush=True)
        sys.stdin.readline()
    return release_loaded(self, loaded)
Releaser.release_loaded = stopped
with Client(endpoint, certs=certs, state=state, privacy="certified", anyway=True) as client:
    for number in range(10_000):
        for bit in range(14):
            photo[:8, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
        client.diagnose(photo)
"""


@contextmanager
def endless(endpoint: str, certs: Path, state: Path, stop_at: int) -> Iterator[subprocess.Popen[str]]:
    """A program that diagnoses photos without end; at one it stops while the head computes."""
    command = [sys.executable, "-c", ENDLESS, endpoint, str(certs), str(state), str(stop_at)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def test_a_kill_between_row_and_sending_counts_one_too_many(worker: Running, certs: Path, tmp_path: Path) -> None:
    done = worker.front.counters.requests["done"]
    with endless(worker.front.endpoint, certs, tmp_path, stop_at=3) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at the head\n"
        assert soon(tmp_path, 4)
        process.kill()
    assert worker.front.counters.requests["done"] == done + 3
    assert counted(tmp_path) == 4
    with Ledger(tmp_path) as book:
        assert [total.releases for total in book.totals()] == [4, 4]


def test_whenever_it_is_killed_all_that_left_is_counted(worker: Running, certs: Path, tmp_path: Path) -> None:
    left: list[int] = []

    def watch(frame: Frame) -> list[bytes]:
        left.append(frame.ref)
        return []

    with middleman(worker.front.endpoint, FrameType.REQ, watch, beside=True) as between:
        with endless(between.endpoint, certs, tmp_path, stop_at=-1) as process:
            wait_until(lambda: len(left) > 20)
            time.sleep(random.random() / 20)
            process.kill()
        rows = counted(tmp_path)
    assert len(left) + 1 <= rows <= len(left) + 2, "the first leaves with the handshake"
