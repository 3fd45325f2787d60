"""A clock that jumps: certificates feel it, open sessions and requests under way do not.

`libfaketime` moves the wall clock of the worker's process, through a file, while it runs; the clock that counts
seconds is left alone, as a real jump leaves it. Debian: faketime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from securesplit.errors import TrustError
from securesplit.pki import keystore
from securesplit.transport.connection import Connection
from securesplit_testing.load import Load
from securesplit_testing.serving import IDENTITY, Process, now, process, release

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
pytestmark = [pytest.mark.faults, pytest.mark.skipif(not LIBRARIES, reason="no libfaketime (Debian: faketime)")]
DAY = 24 * 3600
PATIENT_S = 25.0
"""A slow answer is waited for: a try over a new session would meet the wrong clock."""


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The file that says how far the worker's clock is off; seconds, with their sign."""
    file = tmp_path / "offset"
    file.write_text("+0\n")
    return file


@pytest.fixture
def worker(certs: Path, clock: Path) -> Iterator[Process]:
    env = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    with process(certs, pause_s=0.02, env=env) as started:
        yield started


def connect(worker: Process, certs: Path) -> Connection:
    return Connection([worker.endpoint], keystore.load_client(certs, now=now()), IDENTITY)


@pytest.mark.parametrize("jump_s", [3 * DAY, -3 * DAY])
def test_a_wrong_clock_refuses_new_sessions_only(
    worker: Process, clock: Path, certs: Path, load: Callable[..., Load], jump_s: int
) -> None:
    clients = load(worker.endpoint, clients=2, try_s=PATIENT_S)
    clients.answers(10)
    clock.write_text(f"{jump_s:+d}\n")
    clients.answers(20)
    with connect(worker, certs) as newcomer, pytest.raises(TrustError):
        newcomer.request(release(1))
    clients.answers(20)
    clock.write_text("+0\n")
    with connect(worker, certs) as newcomer:
        assert newcomer.request(release(1)).logit == 1
    clients.answers(10)
    clients.check()


def test_tails_are_neither_killed_nor_left_alone_by_a_jump(
    worker: Process, clock: Path, load: Callable[..., Load]
) -> None:
    """Deadlines and patience are counted on the clock that does not jump."""
    before = worker.tails()
    clients = load(worker.endpoint, clients=2, try_s=PATIENT_S)
    clients.answers(10)
    for jump_s in (400 * DAY, -400 * DAY, 0):
        clock.write_text(f"{jump_s:+d}\n")
        clients.answers(15)
    clients.check()
    assert worker.tails() == before
    assert not any("hung" in line or "died" in line for line in worker.log)
