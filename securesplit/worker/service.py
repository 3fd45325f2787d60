"""Run a worker in this process until a signal ends it.

SIGTERM and SIGINT drain: nothing new is accepted, what was accepted is finished; a second one ends the worker at once.
SIGHUP reads the certificates again and reopens the session log; a change of the certificates' files does the same. A
thread that does nothing else looks at the files and reads them: a disk that hangs holds up no request. Only this module
touches signals, and it puts the old handlers back.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from securesplit.errors import ConfigError, SecureSplitError
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials
from securesplit.pki.watch import FileWatch
from securesplit.transport import openssl_settings
from securesplit.worker.cores import usable_cores
from securesplit.worker.front import Front
from securesplit.worker.monitoring.operations import Operations
from securesplit.worker.resources import DescriptorGuard, MemoryGuard, raise_limit
from securesplit.worker.sandbox import confinement
from securesplit.worker.served_model import ServedModel
from securesplit.worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_LOOK_S = 0.1
_RETRY_S = 60.0
_SETTLE_S = 0.3  # longer than a copy of a few small files pauses; a revocation must be in force within a second


@dataclass(frozen=True, slots=True)
class Ready:
    """What a worker says when it can compute.

    Attributes:
        endpoint: where it listens, with the real port.
        bundle_id: ``sha256:<hex>`` of what it serves.
        expires_at: when its certificate ends.
        workers: tail processes.
        metrics: where health and metrics are, ``HOST:PORT``; None where they are nowhere.
    """

    endpoint: str
    bundle_id: str
    expires_at: datetime
    workers: int
    metrics: str | None


def serve(settings: WorkerSettings, *, on_ready: Callable[[Ready], None]) -> int:
    """Serve a bundle until a signal ends it; only from a program's main thread.

    Args:
        settings: what to serve, where, and with which keys.
        on_ready: called once when all tails can compute.

    Returns:
        the exit code, 0.

    Raises:
        BundleError: the bundle is broken.
        ConfigError: this is another thread, an address cannot be bound, the session log cannot be opened, no
            credentials were given, too few files may be open, OpenSSL's settings allow no handshake, or the
            tails' engine cannot be used here.
        CredentialError: the certificates are missing, broken or expired.
        WorkerError: the tails cannot start.
    """
    return serve_tail(ServedModel.from_bundle(settings.bundle), settings, on_ready=on_ready)


def serve_tail(served: ServedModel, settings: WorkerSettings, *, on_ready: Callable[[Ready], None]) -> int:
    """The same for anything that can be served, not only a bundle."""
    if threading.current_thread() is not threading.main_thread():  # the only one that may handle signals
        hint = "call it from there, or use EmbeddedWorker, which has a thread of its own and keys for this machine"
        raise ConfigError("serve runs in a program's main thread alone", hint=hint)
    folder = None if settings.certs is None else Path(settings.certs)
    paths = [] if folder is None else keystore.server_files(folder)
    if served.lacks_tenseal:
        text = "the bundle's preset encrypted is not served: TenSEAL is not installed"
        _log.warning(text, extra={"event": "preset-not-served"})
    files = FileWatch(paths, settle_s=_SETTLE_S, clock=time.monotonic)
    credentials = _load(settings)
    workers = settings.workers or usable_cores()
    raise_limit()
    confinement.shield()
    pool = replace(settings.pool, workers=workers)
    descriptors = DescriptorGuard(max(workers, pool.most_workers))
    observer = Operations(replace(settings, pool=pool), credentials, served.id)
    try:
        guards = (descriptors, MemoryGuard())
        front = Front(settings.bind, served, credentials, pool, guards=guards, observer=observer)
        observer.attach(front.status)
        ready = Ready(front.endpoint, served.id, credentials.expires_at, workers, observer.address)

        def announce() -> None:
            observer.ready()
            on_ready(ready)
            _log_confinement(front.pool.confinement or ())

        def rest() -> None:
            """A reload of credentials that come from no folder: they stay, and all else is done."""
            front.reload(lambda: credentials)

        reloads = contextlib.nullcontext(rest) if folder is None else _reloads(front, folder, files)
        with reloads as reload, _signals(front, settings, reload):
            front.run(announce)
    finally:
        observer.close()
    return 0


def _log_confinement(held: tuple[str, ...]) -> None:
    """Say what a subverted tail is held to, and what this machine cannot hold it to."""
    fields = {"held": ", ".join(held) or "nothing", "missing": ", ".join(confinement.missing(held))}
    if fields["missing"]:
        text = "tails are confined by %(held)s, but not by %(missing)s; docs/operations.md says what that means"
        _log.warning(text, fields, extra={"event": "confined-in-part"})
    else:
        _log.info("tails are confined by %(held)s", fields, extra={"event": "confined"})


def _load(settings: WorkerSettings) -> Credentials:
    openssl_settings.check()
    if settings.credentials is not None:
        return settings.credentials
    if settings.certs is None:
        raise ConfigError("a worker needs certificates", hint="securesplit keygen, then --certs certs")
    return _read(Path(settings.certs))


def _read(folder: Path) -> Credentials:
    credentials = keystore.load_server(folder, now=datetime.now(UTC))
    if not credentials.allowed_clients:
        text = "no device can connect: allowed-clients.txt is missing or empty"
        _log.warning(text, extra={"event": "nobody-allowed"})
    return credentials


class _Reloader:
    """Reads the certs folder, in a thread of its own, when its files have changed or somebody asks, for the front.

    Files that could not be loaded are tried again now and then, for what passes without a change of them: a clock that
    was wrong, a disk that failed for a moment.

    Args:
        front: that uses the credentials.
        folder: the certs folder.
        files: in it.
    """

    def __init__(self, front: Front, folder: Path, files: FileWatch) -> None:
        self._front, self._folder, self._files = front, folder, files
        self._over, self._is_asked, self._tried_at = threading.Event(), False, time.monotonic()
        self._thread = threading.Thread(target=self._look, name="securesplit-watch", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Read within `_LOOK_S`, whether or not the files have changed; a signal may interrupt it anywhere."""
        self._is_asked = True

    def close(self) -> None:
        """End the thread; one whose disk hangs is left behind."""
        self._over.set()
        self._thread.join(1.0)

    def _look(self) -> None:
        while not self._over.wait(_LOOK_S):
            if self._is_asked or self._files.has_changed():
                self._is_asked = False
                self._reload(is_retry=False)
            elif self._files.is_unread and time.monotonic() - self._tried_at >= _RETRY_S:
                self._tried_at = time.monotonic()
                self._reload(is_retry=True)

    def _reload(self, *, is_retry: bool) -> None:
        """Leave the front what came of it; of a retry that fails like the try before nothing is told."""
        try:
            found = self._files.read(lambda: _read(self._folder))
        except SecureSplitError as error:
            if not is_retry:
                self._front.reload(_failing(error))
        except Exception as error:  # noqa: BLE001  (a fault of ours ends the front; a revocation must not go unread)
            self._front.reload(_failing(error))
        else:
            self._front.reload(lambda: found)


def _failing(error: Exception) -> Callable[[], Credentials]:
    def load() -> Credentials:
        raise error

    return load


@contextlib.contextmanager
def _reloads(front: Front, folder: Path, files: FileWatch) -> Iterator[Callable[[], None]]:
    """Reload whenever the watched files of `folder` change; yields what asks for it now."""
    reloader = _Reloader(front, folder, files)
    try:
        yield reloader.ask
    finally:
        reloader.close()


@contextlib.contextmanager
def _signals(front: Front, settings: WorkerSettings, reload: Callable[[], None]) -> Iterator[None]:
    """Handle the three signals while the front runs, also a SIGHUP that waited for that (`securesplit.__main__`)."""
    times = 0

    def end(_signal: int, _frame: object) -> None:
        nonlocal times
        times += 1
        front.stop(settings.drain_s if times == 1 else 0.0)

    def hang_up(_signal: int, _frame: object) -> None:
        reload()

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: hang_up}
    old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    old_fd = signal.set_wakeup_fd(front.wakeup.signal_fd, warn_on_full_buffer=False)
    waiting = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
        signal.set_wakeup_fd(old_fd)
        for number, handler in old.items():
            signal.signal(number, handler)
