"""Connections of every kind that bring nothing good, one million of them, beside honest clients."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import socket
import struct
import time
from pathlib import Path

from benchmarks.faults.processes import questions
from benchmarks.faults.trial import Bound, Trial
from securesplit_testing.garbage import draw
from securesplit_testing.load import Load
from securesplit_testing.serving import process

RESET = struct.pack("ii", 1, 0)  # close without TIME_WAIT, or the ports would run out
SLICE = 20_000


def garbage(certs: Path, bound: Bound, engine: str = "bundle") -> list[object]:
    """Connections, as fast as one process makes them."""
    with process(certs, engine) as worker:
        load = Load([worker.endpoint], certs, 2, questions=questions(engine), pause_s=0.02)
        trial = Trial(load, bound)
        load.answers(50, 60)
        spent = 0.0
        while many := trial.left(SLICE):
            with trial.phase("calm"):
                time.sleep(3.0)
            trial.weigh(worker.pid)
            start = time.monotonic()
            with trial.phase("faults"):
                peer = multiprocessing.get_context("spawn").Process(
                    target=send, args=(worker.endpoint, many, trial.faults)
                )
                peer.start()
                peer.join(600)
            assert peer.exitcode == 0, "the sender hangs or died"
            spent += time.monotonic() - start
            trial.faults += many
        time.sleep(6.0)
        trial.weigh(worker.pid)
        return trial.row(f"garbage connections, engine {engine}", f"{trial.faults / spent:.0f} connections/s")


def send(endpoint: str, count: int, seed: int) -> None:
    """Connect, send one kind of garbage, and hang up, again and again; addresses of the loopback network in turn."""
    source = random.Random(seed)  # noqa: S311  (a run must be repeatable)
    host, port = endpoint.removeprefix("tcp://").split(":")
    for n in range(count):
        with contextlib.suppress(OSError), socket.socket() as peer:
            peer.settimeout(5.0)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.bind((f"127.0.0.{2 + n % 200}", 0))
            peer.connect((host, int(port)))
            peer.sendall(draw(source))
            if n % 128 == 0:  # let it be read before the connection goes
                peer.settimeout(0.02)
                peer.recv(4_096)
