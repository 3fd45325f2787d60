"""What a ``tail-worker`` shows its operator: health, metrics, the session log, warnings of expiry, systemd's status.

One object a worker, made before the front and closed after it. The front calls it as its `FrontObserver`; none of its
methods blocks: the session log and the health server have threads of their own.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from securesplit.channel.sessions import Ended, Session
from securesplit.errors import ConfigError
from securesplit.pki.credentials import Credentials
from securesplit.text import log_counted
from securesplit.worker.monitoring.expiry import ExpiryWatch
from securesplit.worker.monitoring.observer import FrontObserver, Status
from securesplit.worker.monitoring.probes import why_not_alive, why_not_ready
from securesplit.worker.monitoring.session_log import SessionLog
from securesplit.worker.monitoring.systemd import Notifier
from securesplit.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from securesplit.worker.monitoring.http import HealthServer

_log = logging.getLogger(__name__)
_SESSION_DIGITS = 16


class Operations(FrontObserver):
    """Watches a front for its operator.

    Args:
        settings: of the worker.
        credentials: that it starts with.
        bundle_id: of what it serves.

    Raises:
        ConfigError: the session log cannot be opened, or the address of ``--metrics`` not be used.
    """

    def __init__(self, settings: WorkerSettings, credentials: Credentials, bundle_id: str) -> None:
        super().__init__()
        self._expiry = ExpiryWatch(credentials)
        self._notifier = Notifier()
        self._status: Callable[[], Status] | None = None
        self._server: HealthServer | None = None
        self._is_ready = self._is_draining = False
        self._session_log = None if settings.session_log is None else SessionLog(Path(settings.session_log))
        try:
            if settings.metrics is not None:
                self._server = self._serve(settings.metrics, settings, bundle_id)
        except ConfigError:
            self.close()
            raise
        self._bundle_id = bundle_id

    @property
    def address(self) -> str | None:
        """Where health and metrics are, ``HOST:PORT``; None where they are nowhere."""
        return None if self._server is None else self._server.address

    def attach(self, status: Callable[[], Status]) -> None:
        """Ask a front how it is, by this, from any thread; until then the worker is alive and not ready.

        It has its address, so its session log begins: a second worker that finds the address taken says nothing in the
        log of the first, whose sessions that would end.
        """
        self._status = status
        self._record("started", bundle=self._bundle_id, pid=os.getpid())

    def _serve(self, address: str, settings: WorkerSettings, bundle_id: str) -> HealthServer:
        from securesplit.worker.monitoring.http import HealthServer, Page
        from securesplit.worker.monitoring.prometheus import CONTENT_TYPE, WorkerCollector

        log = self._session_log
        collector = WorkerCollector(
            self.counters,
            bundle_id=bundle_id,
            pool=settings.pool,
            ends=lambda: self._expiry.ends,
            session_log=None if log is None else lambda: {"written": log.written, "lost": log.lost},
        )

        def verdict(why_not: Callable[[Status], str], otherwise: str) -> Page:
            why = otherwise if self._status is None else why_not(self._status())
            return Page(HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK, f"{why or 'ok'}\n".encode())

        def metrics() -> Page:
            status = None if self._status is None else self._status()
            return Page(HTTPStatus.OK, collector.page(status), CONTENT_TYPE)

        pages = {
            "/livez": lambda: verdict(why_not_alive, ""),
            "/readyz": lambda: verdict(lambda status: why_not_ready(status, datetime.now(UTC)), "starting"),
            "/metrics": metrics,
        }
        return HealthServer(address, pages, anywhere=settings.metrics_anywhere, hosts=settings.metrics_hosts)

    def ready(self) -> None:
        """All tails can compute."""
        self._is_ready = True
        self._notifier.ready("serving")

    def opened(self, session: Session) -> None:
        """A client has proved itself."""
        super().opened(session)
        self._record("opened", **_who(session))

    def ended(self, session: Session, why: Ended) -> None:
        """A session is gone."""
        super().ended(session, why)
        self._record("ended", **_who(session), requests=session.requests, why=why.value)

    def tick(self) -> None:
        """Warn of what ends soon; tell the service manager that the loop turns."""
        self._expiry.look()
        self._notifier.alive()

    def reloading(self) -> None:
        """SIGHUP: the certificates are read again, and the session log, perhaps rotated, is opened again."""
        self._notifier.reloading(time.monotonic())
        if self._session_log is not None:
            self._session_log.reopen()

    def reloaded(self, credentials: Credentials | None) -> None:
        """New credentials are in use, or the old ones stay."""
        super().reloaded(credentials)
        if credentials is not None:
            self._expiry.use(credentials)
        if self._is_ready:
            self._notifier.ready("serving" if credentials is not None else "serving; the last reload failed")

    def draining(self) -> None:
        """Nothing new is accepted."""
        if not self._is_draining:
            self._is_draining = True
            self._notifier.stopping()
            if self._status is not None and (status := self._status()).is_draining:  # else an error ends it
                text = f"draining, since somebody asked: {log_counted('left', status.in_flight, 'request')} to finish"
                _log.info(text, {"left": status.in_flight}, extra={"event": "draining"})

    def close(self) -> None:
        """End the threads; the last lines of the session log are written."""
        if self._server is not None:
            self._server.close()
        if self._session_log is not None:
            if self._status is not None:
                self._record("stopped", pid=os.getpid())
            self._session_log.close()
        self._notifier.close()

    def _record(self, event: str, **fields: str | int) -> None:
        if self._session_log is not None:
            self._session_log.record(event, **fields)


def _who(session: Session) -> dict[str, str | int]:
    return {
        "session": session.id.hex()[:_SESSION_DIGITS],
        "client": session.client,
        "fingerprint": session.fingerprint,
    }
