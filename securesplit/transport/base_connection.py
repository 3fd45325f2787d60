"""What both connections have in common: where requests go, how long they wait, and their ids."""

from __future__ import annotations

import abc
import secrets
import time
from collections.abc import Callable, Sequence

from securesplit.channel.frames import REF_BITS
from securesplit.config import check_timeout_s
from securesplit.pki.credentials import Credentials
from securesplit.transport.failover import EndpointSelector, RetryState, Timeouts, UploadTime
from securesplit.transport.key_upload import FruitlessUploads


class BaseConnection(abc.ABC):
    """A client's connection to one of several workers.

    Args:
        endpoints: ``tcp://HOST:PORT`` of workers that hold the same bundle; the next one is tried where one fails.
        credentials: the client's.
        bundle_identity: 32 bytes; both sides must hold the same bundle.
        timeout_s: seconds from a request's start until it is given up, 0.1 to 86,400.
        server_name: the name that the worker's certificate must hold; None: the host of each endpoint.
        timeouts: all waiting times, where `timeout_s` is not enough.
        clock: seconds, rising, by which endpoints that forget evaluation keys are left alone.

    Raises:
        ConfigError: there is no endpoint, or one has another form; or `timeout_s` is out of range.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        credentials: Credentials,
        bundle_identity: bytes,
        *,
        timeout_s: float = 30.0,
        server_name: str | None = None,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeouts = timeouts or Timeouts(total_s=check_timeout_s(timeout_s))
        self._selector = EndpointSelector(endpoints, self._timeouts)
        self._credentials, self._identity, self._server_name = credentials, bundle_identity, server_name
        self._uploading = UploadTime()
        self._fruitless = [FruitlessUploads(clock) for _ in self._selector.endpoints]
        self._start()

    @abc.abstractmethod
    def _start(self) -> None:
        """Make what only this kind of connection has."""

    @property
    @abc.abstractmethod
    def stands(self) -> bool:
        """Whether a worker has answered, and may be asked again without a handshake, as far as is known."""

    def _new_retries(self) -> RetryState:
        """Of a request that begins now."""
        return RetryState(self._timeouts, uploading=self._uploading)

    @staticmethod
    def _new_ref() -> int:
        """A request's id, never 0, which is nobody's.

        Drawn, since it is in clear text: counted ids tell a worker how much others are asked, and whoever listens in
        two networks that both heard one device.
        """
        return secrets.randbits(REF_BITS) or 1
