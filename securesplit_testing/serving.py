"""Real workers for tests: fronts in a thread or in a process of their own, with small engines instead of a network."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from securesplit.channel.tensor import TensorSpec
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials
from securesplit.transport.connection import Connection, Timeouts
from securesplit.worker.front import Front
from securesplit.worker.served_model import ServedModel
from securesplit.worker.settings import EngineSpec, PoolSettings

IDENTITY = b"tiny bundle".ljust(32, b".")
REPO = Path(__file__).resolve().parents[1]


def now() -> datetime:
    return datetime.now(UTC)


def serve_engine(name: str = "Sum", **options: Any) -> ServedModel:
    """A served engine of `securesplit_testing.engines`, or the intruder."""
    module = "intruder" if name == "Intruder" else "engines"
    presets = {TensorSpec((8,), "int8"): "compact", TensorSpec((8,), "int16"): "certified"}
    engine = EngineSpec(f"securesplit_testing.{module}:{name}", options)
    return ServedModel(IDENTITY, f"sha256:{IDENTITY.hex()}", presets, engine)


def serve_bundle(rest_s: float = 0.0) -> ServedModel:
    """The default bundle, whose tails rest so long after each release."""
    served = ServedModel.from_bundle(None)
    if not rest_s:
        return served
    options = {**served.engine.options, "rest_s": rest_s}
    return replace(
        served, engine=replace(served.engine, factory="securesplit_testing.engines:Resting", options=options)
    )


def release(first: int, dtype: str = "int8") -> np.ndarray[Any, Any]:
    """A release whose sum is `first`."""
    return np.array([first, 0, 0, 0, 0, 0, 0, 0], dtype)


def wait_until(
    condition: Callable[[], bool], within_s: float = 20.0, why: Callable[[], str] = lambda: "it did not happen in time"
) -> None:
    """Wait until `condition` holds, or fail and say why."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(0.005)


class Running:
    """A front in a thread of the test.

    Attributes:
        front: the front.
        credentials: of a client that it trusts.
    """

    def __init__(
        self, served: ServedModel, settings: PoolSettings, keys: tuple[Credentials, Credentials], bind: str
    ) -> None:
        server, self.credentials = keys
        self.front = Front(bind, served, server, settings)
        self._thread = threading.Thread(target=self.front.run)
        self._thread.start()

    def connect(self, **options: Any) -> Connection:
        options.setdefault("timeouts", Timeouts(total_s=20.0))
        return Connection([self.front.endpoint], self.credentials, IDENTITY, **options)

    def stop(self, within_s: float = 0.0) -> None:
        if self._thread.is_alive():
            self.front.stop(within_s)
            self._thread.join()


@contextlib.contextmanager
def running(
    served: ServedModel | None = None,
    *,
    keys: tuple[Credentials, Credentials] | None = None,
    bind: str = "tcp://127.0.0.1:0",
    **settings: Any,
) -> Iterator[Running]:
    """Run a front in a thread; `settings` are those of the pool."""
    worker = Running(served or serve_engine(), PoolSettings(**settings), keys or keystore.ephemeral(now()), bind)
    try:
        yield worker
    finally:
        worker.stop()


class Process:
    """A worker in a process of its own, as ``tail-worker`` runs it.

    Args:
        certs: its keys.
        engine: of `securesplit_testing.engines`, or ``bundle``.
        bind: where it listens.
        workers: tails.
        options: of the engine and of `securesplit_testing.run_worker`.
        inside: a command that runs the rest of its line, such as ``prlimit --nofile=128``.
        env: more environment variables.

    Attributes:
        endpoint: where it listens.
        metrics: ``HOST:PORT`` of health and metrics; "None" where there are none.
        log: lines that it wrote to stderr so far.
    """

    def __init__(
        self,
        certs: Path,
        engine: str,
        bind: str,
        workers: int,
        options: dict[str, Any],
        inside: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        run = [sys.executable, "-m", "securesplit_testing.run_worker"]
        command = [*inside, *run, str(certs), engine, bind, str(workers)]
        self._process = subprocess.Popen(
            [*command, *(f"{name}={value}" for name, value in options.items())],
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO), **(env or {})},
        )
        self.log: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.pid = self._process.pid
        assert self._ready.wait(60), self.log
        words = next((line.split() for line in self.log if line.startswith("ready at ")), [""] * 7)
        self.endpoint, self.metrics = words[2], words[6]

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self.log.append(line.rstrip())
                if line.startswith("ready at "):
                    self._ready.set()
        self._ready.set()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for its end and return its exit code."""
        code = self._process.wait(timeout_s)
        self._reader.join()
        return code

    def tails(self) -> list[int]:
        """Process ids of its tails."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.pid and fields[0] != "Z":
                    found.append(int(stat.parent.name))
        return found

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()


@contextlib.contextmanager
def process(
    certs: Path,
    engine: str = "Sum",
    *,
    bind: str = "tcp://127.0.0.1:0",
    workers: int = 1,
    inside: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Process]:
    """Run a worker in a process of its own."""
    worker = Process(certs, engine, bind, workers, options, inside, env)
    try:
        yield worker
    finally:
        worker.close()
