"""A bad network between two namespaces: loss, delay and partition lose no request, and each has one right answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from securesplit.pki import issuing
from securesplit_testing.namespaces import WORKER, Wire, missing, wire
from securesplit_testing.remote_load import RemoteLoad, remote_load
from securesplit_testing.serving import Process, now, process, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.skipif(bool(reason := missing()), reason=reason)]
REQUESTS = 25


@pytest.fixture
def line() -> Iterator[Wire]:
    with wire() as made:
        yield made


@pytest.fixture
def worker(line: Wire, tmp_path: Path) -> Iterator[tuple[Process, Path]]:
    certs = tmp_path / "certs"
    issuing.create(certs, server_names=[WORKER], clients=["device"], days=1, now=now())
    with process(certs, bind=f"tcp://{WORKER}:5555", inside=line.at_worker) as started:
        yield started, certs


def check(clients: RemoteLoad) -> None:
    assert clients.result["lost"] == []
    assert clients.result["sent"] == len(clients.result["milliseconds"]) > 0


def stands_still(clients: RemoteLoad) -> bool:
    """Whether no answer comes for a second."""
    before = clients.answered
    time.sleep(1.0)
    return clients.answered == before


def test_ten_percent_loss_and_100_ms_of_delay(line: Wire, worker: tuple[Process, Path]) -> None:
    line.set(loss=0.1, delay_s=0.1)
    with remote_load(line.at_device, f"tcp://{WORKER}:5555", worker[1]) as clients:
        clients.answers(REQUESTS, 90)
    check(clients)
    assert line.lost > REQUESTS / 5, "the loss was felt"
    assert min(clients.result["milliseconds"]) >= 200, "so was the delay"


@pytest.mark.parametrize("worker_is_deaf", [True, False])
def test_a_partition_in_one_direction_is_survived(
    line: Wire, worker: tuple[Process, Path], worker_is_deaf: bool
) -> None:
    with remote_load(line.at_device, f"tcp://{WORKER}:5555", worker[1]) as clients:
        clients.answers(5)
        line.cut(worker=worker_is_deaf, device=not worker_is_deaf)
        wait_until(lambda: stands_still(clients), why=lambda: "the cut was not felt")
        line.mend()
        clients.answers(5)
    check(clients)


@pytest.mark.skipif("SECURESPLIT_LONG" not in os.environ, reason="takes more than a minute (SECURESPLIT_LONG=1)")
def test_a_worker_forgets_peers_that_are_gone_without_a_word(line: Wire, worker: tuple[Process, Path]) -> None:
    """Half-open connections: the device is cut off for good, and its connections end after 60 s without a heartbeat."""
    fds = Path(f"/proc/{worker[0].pid}/fd")
    alone = len(list(fds.iterdir()))
    with remote_load(line.at_device, f"tcp://{WORKER}:5555", worker[1], clients=4, timeout_s=2.0) as clients:
        clients.answers(8)
        assert len(list(fds.iterdir())) >= alone + 4
        line.cut()
    wait_until(lambda: len(list(fds.iterdir())) <= alone, 90)
