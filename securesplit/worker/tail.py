"""A tail process: ``python -m securesplit.worker.tail``, started by `process.TailProcess` only.

Invariants:

- It holds no key and imports nothing that could use one; it sees releases and computes logits.
- It dies with its front. Standard input is a socket to the front: settings come in on it, the last words of a tail that
  cannot start go out, and its end is the end of this process. Linux adds a signal that reaches a stopped process too.
- Ctrl-C and a service manager's SIGTERM reach whole groups of processes; both are for the front, which drains first.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

from securesplit.errors import SecureSplitError
from securesplit.transport.pool import TailSocket
from securesplit.worker.engine import Engine
from securesplit.worker.messages import DONE, FAILED, READY, Batch, Report

_LIFELINE = 0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    """Read the settings, build the engine, and compute until the front is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with_parent()
    settings = json.loads(_read_line())
    if settings["core"] is not None:
        os.sched_setaffinity(0, {settings["core"]})  # before any thread is started: they inherit it
    threading.Thread(target=_exit_with_front, daemon=True).start()
    try:
        engine = build_engine(settings["factory"], settings["options"])
        engine.warm_up()
    except Exception as error:  # noqa: BLE001  (whatever it is, the front has to hear of it)
        os.write(_LIFELINE, json.dumps(_last_words(error)).encode())
        return 1
    socket = TailSocket(settings["address"], settings["name"].encode())
    socket.send(Report(READY).encode())
    while True:
        socket.send(compute(engine, Batch.decode(socket.receive())).encode())


def build_engine(factory: str, options: dict[str, Any]) -> Engine:
    """Call ``module:function`` with `options`."""
    module, _, function = factory.partition(":")
    built: Engine = getattr(importlib.import_module(module), function)(**options)
    return built


def compute(engine: Engine, batch: Batch) -> Report:
    """Run one batch; an exception of the engine becomes a report."""
    start = time.perf_counter()
    try:
        logits = np.asarray(engine(batch.preset, batch.releases), np.float32)
        if logits.shape != (len(batch.releases),) or not np.isfinite(logits).all():
            return Report(FAILED, batch.number, reason="the engine's answer is not one finite number a release")
    except Exception as error:  # noqa: BLE001  (one bad input must not end the process)
        return Report(FAILED, batch.number, reason=type(error).__name__)  # its text may hold numbers of the release
    return Report(DONE, batch.number, logits, (time.perf_counter() - start) * 1_000)


def _read_line() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        got = os.read(_LIFELINE, 65_536)
        if not got:
            os._exit(0)
        line += got
    return bytes(line)


def _exit_with_front() -> None:
    while os.read(_LIFELINE, 1):
        pass
    os._exit(0)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _last_words(error: Exception) -> dict[str, str]:
    hint = error.hint if isinstance(error, SecureSplitError) else ""
    return {"error": type(error).__name__, "message": str(error), "hint": hint}


if __name__ == "__main__":
    sys.exit(main())
