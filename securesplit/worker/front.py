"""The front of a worker: owns the socket, the sessions and all keys, and runs the loop that everything happens in.

The channel reads messages, `AdmissionController` decides in which order, `Dispatcher` handles requests, and `Pool` runs
the tails.

Invariants:

- One thread, one loop, nothing that blocks. Other threads and signals only set a flag and wake the loop.
- Everything that waits is bounded; what exceeds a bound is rejected with BUSY and the time after which to come back.
- Nothing is written here, and no log line holds a key, a release or an answer. A `FrontObserver` is told of events.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection

from securesplit.channel.events import Request, Send
from securesplit.channel.frames import Code, FrameError, decode, ref_of, session_of
from securesplit.channel.limits import Limits
from securesplit.channel.server import ServerChannel
from securesplit.errors import ConfigError, SecureSplitError
from securesplit.pki.credentials import Credentials, trust_spans
from securesplit.text import log_counted
from securesplit.transport.poll import Poller, Wakeup
from securesplit.transport.server import FrontSocket, Incoming
from securesplit.worker.admission import AdmissionController, is_hello
from securesplit.worker.dispatcher import Dispatcher
from securesplit.worker.key_store import KeyStore
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.observer import FrontObserver, Status
from securesplit.worker.pacing import Pacer
from securesplit.worker.pool import Pool
from securesplit.worker.resources import Guard
from securesplit.worker.served_model import ServedModel
from securesplit.worker.settings import PoolSettings

_log = logging.getLogger(__name__)
_TICK_S = 0.1
_GUARD_S = 0.1
_FLUSH_S = 1.0
_DRAIN_RETRY_MS = 200
_CROWD_RETRY_MS = 250


class Front:
    """A worker without its life cycle: construct it, call `run`, and `stop` it from elsewhere.

    Args:
        bind: ``tcp://HOST:PORT``; port 0 lets the system choose.
        served: what it serves.
        credentials: the server's.
        settings: of the pool.
        guards: of this process's resources; none where the front shares it with a program.
        observer: is told of events; None for one that only counts.
        clock: seconds, rising.

    Raises:
        ConfigError: the address cannot be bound, or the tails' engine cannot be used here.
    """

    def __init__(
        self,
        bind: str,
        served: ServedModel,
        credentials: Credentials,
        settings: PoolSettings,
        *,
        guards: Collection[Guard] = (),
        observer: FrontObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guards = guards
        self._settings, self._clock = settings, clock
        limits = Limits()
        self._observer = observer or FrontObserver()
        self.counters = self._observer.counters
        self.counters.turned_at = clock()
        self._expires_at, self._trusts = credentials.expires_at, trust_spans(credentials)
        self._was_ready = False
        self._channel = ServerChannel(credentials, served.identity, clock=clock, limits=limits, observer=self._observer)
        self._socket = FrontSocket(bind, clock=clock)
        self.endpoint = self._socket.endpoint
        self.wakeup = Wakeup()
        self._poller = Poller()
        self._poller.add(self._socket)
        self._poller.add(self.wakeup)
        self._admission = AdmissionController(limits, clock)
        self._refusals: Counter[str] = Counter()
        self._stop_by: float | None = None
        self._new_credentials: Callable[[], Credentials] | None = None
        self._ticked_at = self._guarded_at = clock()
        with contextlib.ExitStack() as on_error:
            on_error.callback(self._socket.close)
            self._keys = _key_store(served, settings, clock, self.counters)
            if self._keys is not None:
                on_error.callback(self._keys.close)
            self.pool = Pool(served.engine, settings, self._poller, clock, self.counters, self._keys)
            on_error.pop_all()
        self._pacer = Pacer(self._socket.send, clock)
        self._dispatcher = Dispatcher(
            self._channel,
            self.pool,
            served,
            settings,
            self.counters,
            send=self._socket.send,
            pacer=self._pacer,
            clock=clock,
            keys=self._keys,
        )

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop`, then finish what was accepted, and close everything.

        Args:
            on_ready: called once when all tails can compute.

        Raises:
            SecureSplitError: no tail can start; only where `on_ready` is given.
        """
        try:
            while not self._is_over():
                if on_ready is not None:
                    if self.pool.failure is not None:
                        raise self.pool.failure
                    if self._was_ready:
                        on_ready()
                        on_ready = None
                self._turn()
        finally:
            self._observer.draining()
            self._channel.close()
            self.pool.close()
            if self._keys is not None:
                self._keys.close()
            self._socket.close(flush_s=_FLUSH_S)

    def stop(self, within_s: float) -> None:
        """Accept nothing new, finish what was accepted within this time, and end `run`; from any thread or signal."""
        by = self._clock() + within_s
        self._stop_by = by if self._stop_by is None else min(by, self._stop_by)
        self.wakeup.wake()

    def reload(self, load: Callable[[], Credentials]) -> None:
        """Use the new credentials of `load`; from any thread or signal. Where it raises, the old ones stay.

        Args:
            load: called in the front's loop, so it must not wait for a disk.
        """
        self._new_credentials = load
        self.wakeup.wake()

    def status(self) -> Status:
        """How it is now; from any thread."""
        return Status(
            sessions=self._channel.session_count,
            half_open=self._channel.half_open_count,
            waiting=self.pool.waiting,
            in_flight=len(self._dispatcher),
            tails=self.pool.tails,
            tail_bytes=tuple(self.pool.resident_bytes),
            was_ready=self._was_ready,
            is_draining=self._stop_by is not None,
            silent_s=self._clock() - self.counters.turned_at,
            expires_at=self._expires_at,
            trusts=self._trusts,
            confinement=self.pool.confinement,
            keys=None if self._keys is None else self._keys.status,
        )

    def _is_over(self) -> bool:
        if self._stop_by is None:
            return False
        return self._clock() >= self._stop_by or not (len(self._dispatcher) or len(self._admission))

    def _turn(self) -> None:
        ready = self._poller.wait(
            0.0 if self._socket.has_waiting else self._pacer.pause_s(self._admission.pause_s(_TICK_S))
        )
        since = self._clock()
        if self.wakeup in ready:
            self.wakeup.clear()
            self._reload()
            if self._stop_by is not None:
                self._observer.draining()
        self._take_in(more=self._socket in ready or self._socket.has_waiting)
        for result in self.pool.step(ready):
            self._dispatcher.conclude(result)
        self._pacer.step()
        self._was_ready = self._was_ready or self.pool.ready >= self._settings.workers
        if self._clock() - self._guarded_at >= _GUARD_S:
            self._guarded_at = self._clock()
            self._guard_resources()
        if self._clock() - self._ticked_at >= 1.0:
            self._ticked_at = self._clock()
            self._refusals["unfinished"] += self._channel.tick()
            self._dispatcher.tick()
            self._socket.tick()
            if self._keys is not None:
                self._keys.expire()
            self._refusals.update(self._socket.dropped)
            self._socket.dropped.clear()
            self._log_refusals()
            self._observer.tick()
        self.counters.turned(since, self._clock())

    def _take_in(self, *, more: bool) -> None:
        """Receive what has come, if there is `more`, and handle what is admitted in this turn."""
        for message in self._socket.receive() if more else ():
            self._route(message)
        for client, message in self._admission.messages():
            self._handle(message, client)
        if (handshake := self._admission.next_handshake()) is not None:
            began = self._clock()
            self._handle(handshake)
            self._admission.spent(self._clock() - began)

    def _route(self, message: Incoming) -> None:
        """Let a message wait for its turn, or handle it at once where it costs little."""
        if is_hello(message):
            if (displaced := self._admission.add_hello(message)) is not None:
                self._refuse_handshake(displaced, Code.BUSY, _CROWD_RETRY_MS)
        elif not (client := self._channel.client_of(session := session_of(message.body))):
            self._handle(message)
        elif self._pacer.ignores(client):
            self.counters.turned_away["ignored"] += 1
        elif not self._admission.add(client, message):
            self.counters.turned_away["client-limit"] += 1
            ref, wait_ms = ref_of(message.body), self._dispatcher.wait_ms
            busy = self._channel.error(Code.BUSY, ref, session, retry_after_ms=wait_ms)
            self._pacer.refuse(client, message.route, busy)

    def _guard_resources(self) -> None:
        """Where peers take too much of a resource, drop all connections: sessions stay, clients ask again."""
        for guard in self._guards:
            if guard.is_exceeded():
                self._drop_connections(guard.taken)
                guard.rebase()
                return

    def _drop_connections(self, what: str) -> None:
        _log.warning(
            "peers take %(what)s; all connections are dropped, sessions stay",
            {"what": what},
            extra={"event": "connections-dropped"},
        )
        self.counters.connection_drops += 1
        self._poller.remove(self._socket)
        self._socket.reopen()
        self._poller.add(self._socket)

    def _log_refusals(self) -> None:
        """One line a second at most, however many peers are refused."""
        counts = dict(sorted((+self._refusals).items()))
        if counts:
            what = ", ".join(f"{reason} {times}" for reason, times in counts.items())
            _log.info("refused: %(what)s", {"what": what, "counts": counts}, extra={"event": "refused"})
            self.counters.refused.update(counts)
            self._refusals.clear()

    def _reload(self) -> None:
        load, self._new_credentials = self._new_credentials, None
        if load is None:
            return
        self._observer.reloading()
        try:
            credentials = load()
            ended = self._channel.reload(credentials)
            if self._keys is not None:
                self._keys.keep(self._channel.allows)
        except SecureSplitError as error:
            _log.error(
                "certificates not reloaded, the old ones stay: %(why)s",
                {"why": error.message},
                extra={"event": "reload-failed"},
            )
            self._observer.reloaded(None)
        else:
            _log.info(
                f"certificates reloaded, valid until %(until)s; {log_counted('ended', ended, 'session')} ended",
                {"until": str(credentials.expires_at.date()), "ended": ended},
                extra={"event": "reloaded"},
            )
            self._expires_at, self._trusts = credentials.expires_at, trust_spans(credentials)
            self._observer.reloaded(credentials)

    def _handle(self, message: Incoming, client: str = "") -> None:
        """Let the channel read a message, which names a session of `client` unless that is empty."""
        if self._stop_by is not None and is_hello(message):
            self._refuse_handshake(message, Code.DRAIN, _DRAIN_RETRY_MS)
            return
        received = self._clock()
        event = self._channel.receive(message.route[0], message.body, address=message.address)
        if isinstance(event, Request):
            self._socket.claimed(message.route, event.client)
            drain_ms = None if self._stop_by is None else _DRAIN_RETRY_MS
            self._dispatcher.accept(event, message.route, received=received, drain_ms=drain_ms)
        elif isinstance(event, Send):
            self._refusals[event.reason] += bool(event.reason)
            if client:
                self._pacer.refuse(client, message.route, event.frame)
            else:
                self._socket.send(message.route, event.frame)
        else:
            self._refusals[event.reason] += 1

    def _refuse_handshake(self, message: Incoming, code: Code, retry_after_ms: int) -> None:
        """Refuse a HELLO that was not opened; nothing is said to what is not a frame."""
        try:
            frame = decode(message.body)
        except FrameError:
            return
        error = self._channel.error(code, frame.ref, frame.session, retry_after_ms=retry_after_ms)
        self._socket.send(message.route, error)
        self._refusals["draining" if code is Code.DRAIN else "handshake-crowd"] += 1


def _key_store(
    served: ServedModel, settings: PoolSettings, clock: Callable[[], float], counters: Counters
) -> KeyStore | None:
    """Where evaluation keys are kept; None where no ciphertext is taken.

    Raises:
        ConfigError: the system has no room for it.
    """
    if served.engine.encrypted is None:
        return None
    try:
        return KeyStore(settings.evaluation_key_bytes, clock, counters)
    except OSError as error:
        hint = "give a smaller --evaluation-key-memory, or allow more open files and memory (ulimit -a)"
        raise ConfigError(f"no memory for evaluation keys ({error.strerror})", hint=hint) from None
