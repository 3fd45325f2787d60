"""Load on a real worker while something goes wrong with it: clients that ask, and check every answer."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import SecureSplitError
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.transport.connection import Connection, Timeouts
from securesplit_testing.serving import IDENTITY, now, release, wait_until


@dataclass(frozen=True)
class Questions:
    """Releases whose answers are known.

    Attributes:
        identity: of what computes them.
        releases: that are asked about.
        logits: the right answers.
    """

    identity: bytes
    releases: Sequence[NDArray[Any]]
    logits: Sequence[float]


SUMS = Questions(IDENTITY, [release(n) for n in range(100)], range(100))
"""For the engines of `securesplit_testing.engines`."""


def random_questions(preset: str, many: int = 50) -> Questions:
    """Random releases of the default bundle, and what its tail says to them here; of few values, some are alike."""
    bundle = Bundle.load()
    spec, draw = bundle.preset(preset).spec, np.random.default_rng(5)
    releases = draw.integers(-4, 5, (many, *spec.shape)).astype(spec.dtype)
    logits = [float(logit) for logit in bundle.open_tail()(preset, releases)]
    return Questions(bundle.identity, list(releases), logits)


@functools.cache
def of_bundle(preset: str = "compact", many: int = 50) -> Questions:
    """`random_questions` whose answers are all different."""
    questions = random_questions(preset, many)
    assert len(set(questions.logits)) == many
    return questions


class Load:
    """Clients that ask one request after the other until they are stopped.

    Args:
        endpoints: of the workers.
        certs: folder with the client ``device``.
        clients: how many, each with a connection of its own.
        questions: what they ask, in turn.
        pause_s: between two requests of a client.
        timeout_s: of one request.
        try_s: of one try, after which a request goes out again over a new session; as long as a device's by default.

    Attributes:
        sent: requests that were asked so far.
        answered: by each answer, when it came (``time.monotonic``) and the milliseconds that it took.
        lost: what came instead of a right answer.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        certs: Path,
        clients: int = 4,
        *,
        questions: Questions = SUMS,
        pause_s: float = 0.0,
        timeout_s: float = 30.0,
        try_s: float = Timeouts().try_s,
    ) -> None:
        self._questions, self._pause_s = questions, pause_s
        self._endpoints, self._certs = endpoints, certs
        self._timeouts = Timeouts(total_s=timeout_s, absent_s=timeout_s, try_s=try_s)
        self._connections = [self._connect() for _ in range(clients)]
        self._generation = 0
        self._stop = threading.Event()
        self._count = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=[n], daemon=True) for n in range(clients)]
        self.sent = 0
        self.answered: list[tuple[float, float]] = []
        self.lost: list[str] = []
        for thread in self._threads:
            thread.start()

    def _connect(self) -> Connection:
        credentials = keystore.load_client(self._certs, now=now())
        return Connection(self._endpoints, credentials, self._questions.identity, timeouts=self._timeouts)

    def refresh(self) -> None:
        """Each client reads its certificate again before its next request, and reconnects."""
        self._generation += 1

    def _run(self, which: int) -> None:
        n, connection, generation = which, self._connections[which], 0
        while not self._stop.wait(self._pause_s):
            if generation != self._generation:
                generation = self._generation
                connection.close()
                connection = self._connections[which] = self._connect()
            n = (n + 1) % len(self._questions.releases)
            with self._count:
                self.sent += 1
            try:
                answer = connection.request(self._questions.releases[n])
            except SecureSplitError as error:
                self.lost.append(error.message)
                continue
            if abs(answer.logit - self._questions.logits[n]) > 1e-4:
                self.lost.append(f"{answer.logit} instead of {self._questions.logits[n]}")
            else:
                self.answered.append((time.monotonic(), answer.round_trip_ms))

    @property
    def milliseconds(self) -> list[float]:
        """How long each answer took."""
        return [taken for _, taken in list(self.answered)]

    def answers(self, more: int, within_s: float = 30.0) -> None:
        """Wait until so many more requests were answered."""
        goal = len(self.answered) + more
        wait_until(
            lambda: len(self.answered) >= goal, within_s, lambda: f"no progress; {len(self.lost)} lost: {self.lost[:3]}"
        )

    def stop(self) -> None:
        """Finish what was asked, and hang up."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()

    def check(self) -> None:
        """Stop; every request has had exactly one answer, the right one."""
        self.stop()
        assert self.lost == [], self.lost[:3]
        assert len(self.answered) == self.sent
