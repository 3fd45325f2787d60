"""The client's connection: one request, one answer, through whatever the network and the workers do meanwhile.

The Lazy Pirate pattern (ZeroMQ guide, chapter 4) with a total deadline: a try that fails is repeated with the same
request id, after a pause with jitter, on the next endpoint where the last one failed. A worker computes the same id
once and the answer is accepted once. Not repeated: a refused identity (TrustError) and a request that cannot be
computed (WorkerError).
"""

from __future__ import annotations

import itertools
import os
import random
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from securesplit.channel import tensor
from securesplit.channel.credentials import Credentials
from securesplit.channel.frames import HEADER_BYTES
from securesplit.channel.tensor import TensorSpec
from securesplit.errors import ConfigError, UnreachableError, WorkerError
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.peer import Exchange, Peer, Retry
from securesplit.transport.retry import Backoff, Deadline
from securesplit.transport.sockets import Limits, new_context

_PREFIX = struct.Struct(">II")
_ANSWER = TensorSpec((2,), "float32")
_TAG_BYTES = 16
_TRY_S = 8.0  # longer than a worker needs to replace a hung tail (5 s), so that a try is not given up in vain


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what.

    Attributes:
        total_s: from a request's start until it is given up.
        absent_s: until an address where nothing listens is given up, unless a worker was met there before.
        try_s: for one answer, before the same request is sent again over a new connection.
        connect_s: for opening a connection.
    """

    total_s: float = 30.0
    absent_s: float = 2.0
    try_s: float = _TRY_S
    connect_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the worker said about one release.

    Attributes:
        logit: of malignant.
        tail_ms: what the tail took, in milliseconds, as the worker says.
        round_trip_ms: from the call to the answer, in milliseconds.
        payload_bytes: header, ciphertext and tag of the request as sent; without the handshake that a first one
            completes.
        frame: the last frame that was sent, as a wire-tapper saw it.
    """

    logit: float
    tail_ms: float
    round_trip_ms: float
    payload_bytes: int
    frame: bytes


class Connection:
    """A client's connection to one of several workers; many requests share one handshake. Any thread may call it.

    Args:
        endpoints: ``tcp://HOST:PORT`` of workers that hold the same bundle; the next one is tried where one fails.
        credentials: the client's.
        bundle_identity: 32 bytes; both sides must hold the same bundle.
        timeout_s: seconds from a request's start until it is given up.
        server_name: the name that the worker's certificate must hold; None: the host of each endpoint.
        patience: all waiting times, where `timeout_s` is not enough.

    Raises:
        ConfigError: there is no endpoint, or one has another form.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        credentials: Credentials,
        bundle_identity: bytes,
        *,
        timeout_s: float = 30.0,
        server_name: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._endpoints = [Endpoint.parse(endpoint) for endpoint in endpoints]
        if not self._endpoints:
            raise ConfigError("no worker to connect to", hint="name one with --connect tcp://HOST:PORT")
        self._credentials, self._identity, self._server_name = credentials, bundle_identity, server_name
        self._patience = patience or Patience(total_s=timeout_s)
        self._refs = itertools.count(1)
        self._lock = threading.Lock()
        self._met_worker = False
        self._open()

    def request(self, release: NDArray[Any]) -> Answer:
        """Have one release computed.

        Args:
            release: a preset's shape and integer dtype.

        Raises:
            UnreachableError: no worker answered in time, or nothing listens at any endpoint.
            TrustError: one side refused the other; nothing is repeated.
            WorkerError: the worker cannot compute this request.
            ConfigError: this process may open no more files.
        """
        body = tensor.encode(release)
        with self._lock:
            if self._pid != os.getpid():
                self._open()
            start = time.perf_counter()
            exchange = self._persist(next(self._refs), body)
        logit, tail_ms = parse_answer(exchange.plaintext)
        round_trip_ms = (time.perf_counter() - start) * 1_000
        size = HEADER_BYTES + _PREFIX.size + len(body) + _TAG_BYTES
        return Answer(logit, tail_ms, round_trip_ms, size, exchange.frame)

    def close(self) -> None:
        """End all sessions; the connection cannot be used again."""
        with self._lock:
            if self._pid == os.getpid() and not self._context.closed:
                for peer in self._peers:
                    peer.close()
                self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        """Start with fresh sockets and sessions; a forked process must not touch those of its parent."""
        self._pid = os.getpid()
        self._context = new_context()
        self._peers = [self._peer(endpoint) for endpoint in self._endpoints]
        self._current = 0

    def _peer(self, endpoint: Endpoint) -> Peer:
        return Peer(
            endpoint,
            self._credentials,
            self._identity,
            server_name=self._server_name or endpoint.host,
            limits=Limits(),
            connect_timeout_s=self._patience.connect_s,
        )

    def _persist(self, ref: int, body: bytes) -> Exchange:
        """Try until there is an answer, a final error, or no time."""
        deadline = Deadline(self._patience.total_s, time.monotonic)
        backoff = Backoff(random.random)
        while True:
            budget = _PREFIX.pack(int(deadline.left_s * 1_000), 0)
            try:
                exchange = self._peers[self._current].ask(
                    self._context, ref, budget + body, min(self._patience.try_s, deadline.left_s)
                )
            except Retry as retry:
                self._met_worker = self._met_worker or not retry.absent
                self._rest(retry, backoff, deadline)
            else:
                self._met_worker = True
                return exchange

    def _rest(self, retry: Retry, backoff: Backoff, deadline: Deadline) -> None:
        """Pause before the next try and choose where it goes, or give up."""
        pause_s = 0.0 if retry.at_once else backoff.next_s(retry.after_s)
        absent = not self._met_worker and deadline.elapsed_s + pause_s > self._patience.absent_s
        if absent or pause_s >= deadline.left_s:
            self._met_worker = False
            raise self._unreachable(retry, deadline)
        if retry.elsewhere:
            self._current = (self._current + 1) % len(self._peers)
        time.sleep(pause_s)

    def _unreachable(self, retry: Retry, deadline: Deadline) -> UnreachableError:
        where = ", ".join(str(endpoint) for endpoint in self._endpoints)
        hint = f"start one there with securesplit tail-worker --bind {self._endpoints[0]}, or check --connect"
        return UnreachableError(
            f"no worker answered at {where} within {deadline.elapsed_s:.0f} s ({retry.why})", hint=hint
        )


def parse_answer(plaintext: bytes) -> tuple[float, float]:
    """Read an answer: the logit, and the milliseconds that the tail took.

    Raises:
        WorkerError: it is no answer.
    """
    try:
        logit, tail_ms = tensor.decode(plaintext, [_ANSWER])
    except tensor.TensorError as error:
        raise WorkerError(
            f"the worker's answer makes no sense ({error.message})", hint="compare the versions"
        ) from None
    return float(logit), float(tail_ms)
