"""Processes made by fork: they work with things of their own, or are told at once that they cannot."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from securesplit import AsyncClient, Bundle, Client, ConfigError, Releaser, forking
from securesplit.device.ledger import Ledger
from securesplit.worker import EmbeddedWorker
from securesplit_testing.threads import beside
from tests.integration.conftest import Worker

pytestmark = [
    pytest.mark.usefixtures("known_keys"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    # that other threads run meanwhile is what is tested
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

BUSY = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from securesplit import Client
endpoint, certs, one, other = sys.argv[1:]
client = Client(endpoint, certs=certs, timeout_s=5)
answer = client.diagnose(one)
stop = threading.Event()
def busy():
    while not stop.is_set():
        client.diagnose(other)
threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
for turn in range(8):
    time.sleep(0.037)
    child = os.fork()
    if child == 0:
        if turn % 2:  # its own client, beside the one that it inherited
            with Client(endpoint, certs=certs, timeout_s=5) as own:
                assert abs(own.diagnose(one).malignant - answer.malignant) < 1e-3
        assert abs(client.diagnose(one).malignant - answer.malignant) < 1e-3
        client.close()
        sys.exit(0)  # the whole shutdown of an interpreter, over what it inherited
    deadline = time.monotonic() + 20
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        assert time.monotonic() < deadline, "a child hangs"
        time.sleep(0.01)
    assert ended[1] == 0, ended
stop.set()
for thread in threads: thread.join()
assert client.diagnose(one).privacy.releases == 1
client.close()
"""


def test_a_client_works_in_forks_while_parent_threads_diagnose(worker: Worker, draw_photo: Callable[..., Path]) -> None:
    arguments = [worker.endpoint, str(worker.certs), str(draw_photo(1)), str(draw_photo(2))]
    done = subprocess.run(
        [sys.executable, "-c", BUSY, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def in_fork(act: Callable[[], object]) -> int:
    """The exit code of a fork that calls `act`: 0 where it returns true."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if act() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, 9)
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(ended[1])


def test_a_ledger_counts_every_release_of_forks_and_threads(tmp_path: Path) -> None:
    """A fork in the middle of another thread's transaction would find the database locked for ever."""
    spec = Bundle.load(None).preset("certified").spec
    with Ledger(tmp_path) as ledger:

        def spend(name: str) -> bool:
            key = name.encode().ljust(16)
            return ledger.spend(key, key, spec.loss, preset="certified", bundle_id="sha256:0").first

        written: list[bool] = []

        def busy(stop: threading.Event) -> None:
            while not stop.is_set():
                written.append(spend(f"parent {len(written)}"))
                stop.wait(0.002)  # SQLite's lock is not fair between processes

        with beside(busy):
            codes = [in_fork(lambda turn=turn: spend(f"child {turn}")) for turn in range(15)]  # type: ignore[misc]
        assert codes == [0] * 15
        assert ledger.totals()[-1].releases == len(written) + 15
        ledger.close()
        with pytest.raises(ConfigError, match="closed"):
            ledger.totals()


def test_what_could_not_be_opened_hears_of_no_fork() -> None:
    """It is not whole, and whoever caught the error may keep it alive."""
    with pytest.raises(ZeroDivisionError) as caught:
        forking.ClosedAtFork(lambda: 1 // 0, lambda _: None)
    assert caught.value.__traceback__ is not None
    assert all(hasattr(each, "_value") for each in forking._alive() if isinstance(each, forking.ClosedAtFork))


def test_all_hear_of_a_fork_while_another_thread_makes_more() -> None:
    kept = [forking.ForkAware() for _ in range(200)]

    def make(stop: threading.Event) -> None:
        while not stop.is_set():
            [forking.ForkAware() for _ in range(50)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with beside(make):
            for _ in range(1000):
                forking._before()
                assert {id(each) for each in kept} <= {id(each) for each in forking._forking.told}
                forking._after_in_parent()
    finally:
        sys.setswitchinterval(interval)


def test_what_is_gone_hears_of_no_fork() -> None:
    before = len(forking._live)
    gone = [forking.ForkAware() for _ in range(3)]
    assert len(forking._live) == before + 3
    gone.clear()
    assert len(forking._live) == before


class _Untold(forking.ClosedAtFork[list[int]]):
    """One that was opened between the moment when all were told of a fork and the fork."""

    def before(self) -> None:
        """Hear nothing."""

    def after_in_parent(self) -> None:
        """Hear nothing."""


def test_what_was_not_closed_before_a_fork_is_opened_again_in_it() -> None:
    closed: list[list[int]] = []
    opened = _Untold(list, closed.append)
    inherited = opened.value
    assert in_fork(lambda: opened.value is not inherited and not closed) == 0
    assert opened.value is inherited


def test_a_releaser_gives_the_same_release_in_a_fork(draw_photo: Callable[..., Path]) -> None:
    """The noise is the photo's, so a fork draws no other one."""
    releaser, photo = Releaser(Bundle.load(None), bytes(32)), draw_photo(1)
    expected = releaser.release(photo).release
    assert in_fork(lambda: np.array_equal(releaser.release(photo).release, expected)) == 0


def _same_label(client: Client, photo: Path, label: str) -> None:
    assert client.diagnose(photo).label == label


def test_multiprocessing_by_fork_takes_a_client_along(worker: Worker, draw_photo: Callable[..., Path]) -> None:
    photo = draw_photo(1)
    with Client(worker.endpoint, certs=worker.certs) as client:
        label = client.diagnose(photo).label
        child = multiprocessing.get_context("fork").Process(target=_same_label, args=(client, photo, label))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert client.diagnose(photo).label == label


def test_an_asyncio_client_after_a_fork_is_refused_at_once(worker: Worker, draw_photo: Callable[..., Path]) -> None:
    photo = draw_photo(1)

    async def ask_and_close(client: AsyncClient) -> bool:
        with pytest.raises(ConfigError, match="this AsyncClient was made before the process forked"):
            await client.diagnose(photo)
        await client.close()
        return True

    async def main() -> None:
        async with AsyncClient(worker.endpoint, certs=worker.certs) as client:
            before = await client.diagnose(photo)
            assert await asyncio.to_thread(in_fork, lambda: asyncio.run(ask_and_close(client))) == 0
            assert (await client.diagnose(photo)).label == before.label

    asyncio.run(main())


def test_a_fork_does_not_end_its_parent_s_embedded_worker(draw_photo: Callable[..., Path]) -> None:
    photo = draw_photo(1)
    with EmbeddedWorker() as embedded:
        with Client(embedded.endpoint, credentials=embedded.client_credentials, local=True) as client:
            label = client.diagnose(photo).label

            def leave() -> bool:
                client.__exit__(None, None, None)
                embedded.__exit__(None, None, None)
                return True

            assert in_fork(leave) == 0
            assert client.diagnose(photo).label == label


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("value", [math.inf, 1e9, math.nan, 0, -1, "30", None, True])
def test_a_timeout_out_of_range_is_refused(kind: type, value: object, worker: Worker) -> None:
    with pytest.raises(ConfigError, match="timeout_s"):
        kind(worker.endpoint, certs=worker.certs, timeout_s=value)
