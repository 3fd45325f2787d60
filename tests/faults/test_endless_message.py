"""A peer that sends frame after frame of one message that never ends, which libzmq keeps without any bound."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.worker.serving import process

pytestmark = pytest.mark.faults

# ZMTP 3.0 (rfc.zeromq.org/spec/23), NULL mechanism: greeting, READY, then long frames with the MORE flag.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
FRAME = b"\x03" + (1 << 16).to_bytes(8, "big") + bytes(1 << 16)
MIB = 1 << 20


def send_endlessly(host: str, port: int, stop: threading.Event) -> None:
    """About 60 MB/s, again over a new connection whenever the worker hangs up."""
    while not stop.is_set():
        with contextlib.suppress(OSError), socket.create_connection((host, port), 1.0) as peer:
            peer.sendall(GREETING + b"\x04" + bytes([len(READY)]) + READY)
            while not stop.is_set():
                peer.sendall(FRAME)
                time.sleep(0.001)
        time.sleep(0.01)


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def test_it_costs_bounded_memory_and_honest_clients_lose_nothing(certs: Path, load: Callable[..., Load]) -> None:
    stop = threading.Event()
    with process(certs, growth_bytes=48 * MIB) as worker:
        clients = load(worker.endpoint, clients=2)
        clients.answers(50)
        before = peak = resident_mib(worker.pid)
        host, port = worker.endpoint.removeprefix("tcp://").split(":")
        attacker = threading.Thread(target=send_endlessly, args=(host, int(port), stop))
        attacker.start()
        end = time.monotonic() + 6.0
        while time.monotonic() < end:
            peak = max(peak, resident_mib(worker.pid))
            time.sleep(0.01)
        clients.answers(50)
        stop.set()
        attacker.join()
        clients.check()
        assert any("connections are dropped" in line for line in worker.log), "the attack was felt"
        assert peak < before + 48 + 60, "the allowance, and what comes in between two looks"
