"""Small real engines for real tail processes; each takes ``(n, 8) int8`` releases."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.worker.engine import LiteRTEngine

DEADLY, HANGING, RAISING, NAN, BABBLING = -1, -2, -3, -4, -5
"""What a release's first number makes `Moody` do."""


class Sum:
    """Adds up each release, after a pause; loading it takes `load_s`."""

    def __init__(self, pause_s: float = 0.0, load_s: float = 0.0) -> None:
        self._pause_s = pause_s
        time.sleep(load_s)

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        time.sleep(self._pause_s)
        sums: NDArray[np.float32] = releases.sum(axis=1, dtype=np.float32)
        return sums


class Resting(LiteRTEngine):
    """A bundle's tail that rests `rest_s` after each release."""

    def __init__(self, bundle: str, identity: str, threads: int = 1, rest_s: float = 0.0) -> None:
        super().__init__(bundle, threads, identity)
        self._rest_s = rest_s

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        time.sleep(self._rest_s * len(releases))
        return super().__call__(preset, releases)


class Moody(Sum):
    """Adds up, unless a release tells it to die, hang, babble, raise or answer nonsense."""

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        moods = set(releases[:, 0].tolist())
        if DEADLY in moods:
            os._exit(3)
        if HANGING in moods:
            os.kill(os.getpid(), signal.SIGSTOP)
        if BABBLING in moods:
            os.write(0, bytes(range(256)))
        if RAISING in moods:
            raise ValueError("no such release")
        return np.full(len(releases), np.nan) if NAN in moods else super().__call__(preset, releases)


class Counting(Sum):
    """Adds up, and appends a line to a file for each release that it computes."""

    def __init__(self, log: str, pause_s: float = 0.0) -> None:
        super().__init__(pause_s)
        self._log = Path(log)

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        with self._log.open("a") as stream:
            stream.writelines(f"{release.tolist()}\n" for release in releases)
        return super().__call__(preset, releases)


def broken() -> Sum:
    """No engine at all."""
    from securesplit.errors import BundleError

    raise BundleError("tail.tflite was altered", hint="fetch the bundle again")


def suicidal() -> Sum:
    """Dies while it starts, without a word."""
    os._exit(9)
