"""Peers that send frame after frame of one message that never ends: thrown out while they send, again and again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from securesplit.worker.resources import resident_bytes
from securesplit_testing.load import Load
from securesplit_testing.serving import process
from securesplit_testing.threads import beside
from tests.transport.raw import connect

pytestmark = pytest.mark.faults

LONG_FRAME = b"\x03" + (1 << 16).to_bytes(8, "big") + bytes(1 << 16)
EMPTY_FRAMES = b"\x01\x00" * 30_000
MIB = 1 << 20


def send_endlessly(endpoint: str, frames: bytes, stop: threading.Event) -> None:
    """As much as the worker takes, again over a new connection whenever it hangs up."""
    while not stop.is_set():
        with contextlib.suppress(OSError), connect(endpoint) as peer:
            while not stop.is_set():
                peer.sendall(frames)
        time.sleep(0.01)


def resident_mib(pid: int) -> float:
    return resident_bytes(pid) / MIB


def test_it_costs_no_memory_and_honest_clients_lose_nothing(certs: Path, load: Callable[..., Load]) -> None:
    with process(certs) as worker:
        clients = load(worker.endpoint, clients=2)
        clients.answers(50)
        before = peak = resident_mib(worker.pid)
        with beside(*(partial(send_endlessly, worker.endpoint, frames) for frames in (LONG_FRAME, EMPTY_FRAMES))):
            end = time.monotonic() + 4.0
            while time.monotonic() < end:
                peak = max(peak, resident_mib(worker.pid))
                time.sleep(0.01)
            clients.answers(50)
        clients.check()
        assert any("peer-protocol" in line for line in worker.log), "the attack was felt"
        assert peak < before + 20
