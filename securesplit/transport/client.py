"""The client's connection: one request, one answer, through whatever the network and the workers do meanwhile.

The Lazy Pirate pattern (ZeroMQ guide, chapter 4) with a total deadline: a try that fails is repeated with the same
request id, after a pause with jitter, on the next endpoint where the last one failed. A worker computes the same id
once and the answer is accepted once. Not repeated: a refused identity (TrustError) and a request that cannot be
computed (WorkerError).
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from securesplit.channel import tensor
from securesplit.channel.credentials import Credentials
from securesplit.transport import answer
from securesplit.transport.answer import Answer
from securesplit.transport.course import Attempts, Course, Patience
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.peer import Exchange, Peer, Retry
from securesplit.transport.sockets import Limits, new_context

__all__ = ["Answer", "Connection", "Patience"]


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
        self._patience = patience or Patience(total_s=timeout_s)
        self._course = Course(endpoints, self._patience)
        self._credentials, self._identity, self._server_name = credentials, bundle_identity, server_name
        self._refs = itertools.count(1)
        self._lock = threading.Lock()
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
        logit, tail_ms = answer.read(exchange.plaintext)
        round_trip_ms = (time.perf_counter() - start) * 1_000
        return Answer(logit, tail_ms, round_trip_ms, answer.payload_bytes(body), exchange.frame)

    def renew(self, credentials: Credentials) -> None:
        """Use other credentials from the next request on; sessions under the old ones end."""
        with self._lock:
            self._credentials = credentials
            if self._pid == os.getpid() and not self._context.closed:
                self._close_peers()
                self._peers = [self._peer(endpoint) for endpoint in self._course.endpoints]

    def close(self) -> None:
        """End all sessions; the connection cannot be used again."""
        with self._lock:
            if self._pid == os.getpid() and not self._context.closed:
                self._close_peers()
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
        self._peers = [self._peer(endpoint) for endpoint in self._course.endpoints]

    def _close_peers(self) -> None:
        for peer in self._peers:
            peer.close()

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
        attempts = Attempts(self._patience)
        while True:
            tried = self._course.current
            plaintext = answer.request(attempts.budget_ms, body)
            try:
                exchange = self._peers[tried].ask(self._context, ref, plaintext, attempts.try_s)
            except Retry as retry:
                time.sleep(self._course.failed(retry, tried, attempts))
            else:
                self._course.succeeded()
                return exchange
