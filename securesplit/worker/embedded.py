"""A private worker inside another program: its own keys, loopback only, one tail process, gone with the program.

It returns before its tail is ready, so that the caller's own loading runs at the same time; requests wait meanwhile.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from securesplit.config import check_count
from securesplit.errors import ConfigError
from securesplit.forking import MadeHere, OfOneProcess
from securesplit.pki import keystore
from securesplit.transport import openssl_settings
from securesplit.transport.endpoint import LOOPBACK
from securesplit.worker.front import Front
from securesplit.worker.sandbox import confinement
from securesplit.worker.served_model import ServedModel
from securesplit.worker.settings import MOST_WORKERS, PoolSettings


class EmbeddedWorker(OfOneProcess):
    """A context manager; inside it `endpoint` and `client_credentials` are what a client needs.

    From then on the program's memory is closed to other processes of its user, debuggers and core files included
    (Linux), so that its tail cannot read photos and keys there.

    Args:
        bundle: folder of the bundle; None for the one in the package.
        workers: tail processes, 1 to 1,024.
        served: something else to serve, instead of a bundle.

    Raises:
        ConfigError: it is another number, or OpenSSL's settings allow no handshake.
    """

    def __init__(
        self, bundle: str | Path | None = None, *, workers: int = 1, served: ServedModel | None = None
    ) -> None:
        self._bundle, self._served = bundle, served
        self._settings = PoolSettings(workers=check_count(workers, "workers", least=1, most=MOST_WORKERS))
        openssl_settings.check()
        self._server_credentials, self.client_credentials = keystore.ephemeral(datetime.now(UTC))
        self._started = threading.Event()
        self._made = MadeHere("EmbeddedWorker")
        self._front: Front | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="securesplit-front", daemon=True)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return self.front.endpoint

    @property
    def front(self) -> Front:
        """The running front."""
        if self._front is None:
            raise RuntimeError("the embedded worker is not running; use it in a with statement")
        return self._front

    def __enter__(self) -> Self:
        """Start listening.

        Raises:
            BundleError: the bundle is broken.
            ConfigError: this machine does not let it listen, it was started before, or ``sys.executable`` is no Python.
        """
        if self._thread.ident is not None:
            raise ConfigError("this embedded worker was started before", hint="make another one; each is used once")
        confinement.shield()
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._made.is_inherited:
            return  # the parent's worker keeps running
        self.front.stop(0.0)
        self._thread.join()

    def _run(self) -> None:
        """The thread: it owns the sockets, and is the parent of the tails (Linux ends them when it ends)."""
        try:
            served = self._served or ServedModel.from_bundle(self._bundle)
            self._front = Front(f"tcp://{LOOPBACK}:0", served, self._server_credentials, self._settings)
        except Exception as failure:  # noqa: BLE001  (raised in the thread that waits)
            self._failure = failure
            return
        finally:
            self._started.set()
        self._front.run()
