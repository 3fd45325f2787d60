"""A tail process: ``python -m securesplit.worker.tail``, started by `process.TailProcess` only.

Invariants:

- It holds no secret key and imports nothing that could use one; it sees releases and computes logits. Of the preset
  ``encrypted`` it sees ciphertexts and evaluation keys, which read nothing.
- It is confined before it reads the bundle, and more tightly before it is given a release (``sandbox/``); code is
  loaded before that. Whatever of it this machine cannot do is part of the report that it is ready.
- It dies with its front. Standard input is a socket to the front: settings and batches come in on it, reports go out,
  and its end is the end of this process. Linux adds a signal that reaches a stopped process too.
- Ctrl-C, and a service manager's SIGTERM and SIGHUP, may reach all processes of a service; they are for the front,
  which drains first, or reads its files again.
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
from collections.abc import Callable
from typing import Any

import numpy as np

from securesplit.errors import WorkerError
from securesplit.version import own_version
from securesplit.worker.encrypted_engine import EncryptedEngine, EncryptedRefusal
from securesplit.worker.engine import Engine
from securesplit.worker.ipc.messages import (
    ANSWERED,
    DONE,
    FAILED,
    READY,
    REFUSED,
    Batch,
    EncryptedBatch,
    Report,
    decode_batch,
)
from securesplit.worker.ipc.pipe import PipeError, TailPipe
from securesplit.worker.key_arena import map_for_reading
from securesplit.worker.sandbox import confinement

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    """Read the settings, build the engine, and compute until the front is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    pipe = TailPipe(sys.stdin.fileno())
    try:
        _serve(pipe, json.loads(pipe.receive()[0]))
    except PipeError:
        return 0
    return 1


def _serve(pipe: TailPipe, settings: dict[str, Any]) -> None:
    """Until the front is gone; returns where the engine cannot be built."""
    try:
        _check_version(settings.get("version"))
        if settings["core"] is not None:
            os.sched_setaffinity(0, {settings["core"]})  # before any thread is started: they inherit it
        factory, held = load_factory(settings["factory"]), []
        encrypted = _Encrypted(**settings["encrypted"]) if settings["encrypted"] else None
        if settings["confine"]:
            held += confinement.for_loading(settings["factory"].partition(":")[0], settings["readable"])
        threading.Thread(target=_exit_with_front, args=(pipe,), daemon=True).start()
        engine = factory(**settings["options"])
        engine.warm_up()
        if encrypted is not None:
            encrypted.build()
        if settings["confine"]:
            held += confinement.for_computing(on_ciphertexts=encrypted is not None)
    except Exception as error:  # noqa: BLE001  (whatever it is, the front has to hear of it)
        pipe.send(Report.broken(error).encode())
        return
    pipe.send(Report(READY, reason=" ".join(held)).encode())
    while True:
        batch = decode_batch(pipe.receive())
        if isinstance(batch, Batch):
            report = compute(engine, batch)
        else:
            assert encrypted is not None  # noqa: S101  (a front sends what it said that it would)
            report = encrypted.compute(batch)
        pipe.send(report.encode())


def _check_version(front: str | None) -> None:
    """That the program was not upgraded beneath a front that runs on: the two would not understand each other.

    Raises:
        WorkerError: it was.
    """
    if front != own_version():
        message = f"securesplit was replaced: it is {own_version()}, and this worker runs {front or 'an earlier one'}"
        raise WorkerError(message, hint="restart the worker; stop it before the next upgrade (docs/operations.md)")


def load_factory(name: str) -> Callable[..., Any]:
    """Import ``module:function``, which builds an engine."""
    module, _, function = name.partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return factory


class _Encrypted:
    """The part of a tail that computes on ciphertexts.

    Args:
        factory: of the engine.
        options: of the factory.
        descriptor: of the arena, inherited.
        size: of the arena, in bytes.
    """

    def __init__(self, factory: str, options: dict[str, Any], descriptor: int, size: int) -> None:
        self._factory, self._options = load_factory(factory), options
        self._arena = map_for_reading(descriptor, size)

    def build(self) -> None:
        self._engine: EncryptedEngine = self._factory(**self._options)
        self._engine.warm_up()

    def compute(self, batch: EncryptedBatch) -> Report:
        """Answer a ciphertext, or say that it is none."""
        start = time.perf_counter()
        try:
            answer = self._engine(batch, self._arena)
        except EncryptedRefusal as refusal:
            return Report(REFUSED, batch.number, reason=str(refusal))
        except Exception as error:  # noqa: BLE001  (one bad input must not end the process)
            return Report(FAILED, batch.number, reason=type(error).__name__)
        return Report(ANSWERED, batch.number, milliseconds=(time.perf_counter() - start) * 1_000, ciphertext=answer)


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


def _exit_with_front(pipe: TailPipe) -> None:
    """End also what still computes, or hangs."""
    pipe.wait_for_end()
    os._exit(0)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
