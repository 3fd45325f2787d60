"""Settings of a worker and of its tails."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path

from securesplit.channel.limits import REQUESTS_IN_FLIGHT
from securesplit.config import (
    MOST_TIMEOUT_S,
    cannot_be,
    check_count,
    check_flag,
    check_number,
    check_path,
    renamed,
)
from securesplit.encrypted.messages import MAX_KEY_BYTES
from securesplit.errors import ConfigError
from securesplit.pki.credentials import Credentials
from securesplit.worker.cores import usable_cores

MOST_WORKERS = 1_024
START_TIMEOUT_S = 60.0
"""For a tail on this machine."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """How a tail process builds its engine; travels to it as JSON.

    Attributes:
        factory: ``module:function``; called with `options`, it returns a `securesplit.worker.engine.Engine`.
        options: keyword arguments of JSON types.
        readable: files and folders that it reads besides code; a confined tail can read no others.
        encrypted: likewise what evaluates the preset ``encrypted``, an `encrypted_engine.EncryptedEngine`; None where
            no ciphertext is taken. Its `readable` is not used.
    """

    factory: str
    options: Mapping[str, str | int | float | None] = field(default_factory=dict)
    readable: tuple[str, ...] = ()
    encrypted: EngineSpec | None = None


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Tails as actors of a Ray cluster, of which this machine is a node.

    Attributes:
        address: ``HOST:PORT`` of the cluster's control store (GCS).
        anywhere: start also where a node has public addresses, on which Ray then listens too.

    Raises:
        ConfigError: `address` is none, or `anywhere` is neither True nor False.
    """

    address: str
    anywhere: bool = False

    def __post_init__(self) -> None:
        check_ray_address(_text(self.address, "address", hint="give HOST:PORT of the cluster"))
        check_flag(self.anywhere, "anywhere")


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Bounds and patience of the pool.

    Attributes:
        workers: tails; where there may be more, those that there always are.
        most_workers: tails that there may be while requests wait; 0: never more than `workers`.
        quiet_s: tails that nobody needed for so long are ended, down to `workers`.
        max_batch: jobs that one tail gets at once.
        batch_s: a batch holds no more jobs than take so long at their best pace of late, but at least one, since all of
            its answers leave at its end.
        queue_limit: jobs that may wait; for one more the client that has most loses one.
        client_limit: jobs of one client that may wait or run, over all its sessions; one more is refused.
        session_limit: jobs of one session that may wait or run; one more is refused.
        job_timeout_s: a tail that computes one batch for longer hangs, and is killed.
        start_timeout_s: a tail that is not ready by then hangs, and is killed.
        max_deaths: the tails that one job may take with it before it is called poison.
        backoff_s: pause before a tail that died without any answer is started again; doubles each time.
        backoff_cap_s: the longest such pause.
        show_tail_errors: let the tails write to our stderr.
        pin: give each tail a core of its own, where there are as many.
        evaluation_key_bytes: memory for the evaluation keys of the preset ``encrypted``, all clients together; at
            least 32 MiB, the largest that keys may be.
        confine: let tails do nothing but compute, as far as this machine can (``sandbox/``); without it an engine
            may write files, and a subverted one may read whatever the worker's user can.
        ray: where tails run as actors of a Ray cluster; None: as processes of this machine.

    Raises:
        ConfigError: a bound is no whole number from 1 on, a time no number of seconds, no evaluation keys would fit in,
            or there may be fewer tails than there always are.
    """

    workers: int = 1
    most_workers: int = 0
    quiet_s: float = 60.0
    max_batch: int = 8
    batch_s: float = 0.006
    queue_limit: int = 1_024
    client_limit: int = 256
    session_limit: int = REQUESTS_IN_FLIGHT
    job_timeout_s: float = 5.0
    start_timeout_s: float = START_TIMEOUT_S
    max_deaths: int = 3
    backoff_s: float = 0.1
    backoff_cap_s: float = 5.0
    show_tail_errors: bool = False
    pin: bool = False
    confine: bool = True
    evaluation_key_bytes: int = 1 << 30
    ray: RaySettings | None = None

    def __post_init__(self) -> None:
        for name in ("max_batch", "queue_limit", "client_limit", "session_limit", "max_deaths", "evaluation_key_bytes"):
            check_count(getattr(self, name), name, least=1, most=1 << 48)
        for name, least in (("workers", 1), ("most_workers", 0)):
            check_count(getattr(self, name), name, least=least, most=MOST_WORKERS)
        for name in ("quiet_s", "batch_s", "job_timeout_s", "start_timeout_s", "backoff_s", "backoff_cap_s"):
            check_number(getattr(self, name), name, least=0, most=MOST_TIMEOUT_S)
        for name in ("show_tail_errors", "pin", "confine"):
            check_flag(getattr(self, name), name)
        if not isinstance(self.ray, RaySettings | None):
            raise cannot_be("ray", self.ray, hint="give RaySettings, or None")
        if 0 < self.most_workers < self.workers:
            message = f"{self.most_workers} at most is fewer than the {self.workers} tails that there always are"
            raise ConfigError(message, hint="raise --max-workers, or lower --workers")
        if self.evaluation_key_bytes < MAX_KEY_BYTES:
            message = f"{self.evaluation_key_bytes:,} bytes are too few for evaluation keys"
            raise ConfigError(message, hint=f"allow {MAX_KEY_BYTES >> 20} MiB or more")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """A ``tail-worker``.

    Attributes:
        bind: ``tcp://HOST:PORT``; port 0 lets the system choose.
        certs: folder that `keygen` wrote; read again when it changes and on SIGHUP. None where `credentials` are given.
        credentials: the server's, where they come from no folder.
        bundle: folder of the bundle; None for the one in the package.
        workers: tail processes; 0 for one a usable core.
        drain_s: how long a stopping worker may take to finish what it has accepted.
        metrics: ``HOST:PORT`` for health and metrics; None for neither.
        metrics_anywhere: let `metrics` be an address that other machines can reach.
        metrics_hosts: further names that `metrics` is asked by.
        session_log: file of the sessions; None for none.
        pool: everything else about the pool; its `workers` is not used.
        audit_log: the earlier name of `session_log`, accepted until version 0.2.

    Raises:
        ConfigError: `workers` is another number than 0 to 1,024, or a value is of another kind than its setting.
    """

    bind: str
    certs: str | Path | None = None
    credentials: Credentials | None = None
    bundle: str | Path | None = None
    workers: int = 0
    drain_s: float = 20.0
    metrics: str | None = None
    metrics_anywhere: bool = False
    metrics_hosts: Collection[str] = ()
    session_log: str | Path | None = None
    pool: PoolSettings = field(default_factory=PoolSettings)
    audit_log: InitVar[str | Path | None] = None

    def __post_init__(self, audit_log: str | Path | None) -> None:
        check_count(self.workers, "workers", least=0, most=MOST_WORKERS)
        check_number(self.drain_s, "drain_s", least=0, most=MOST_TIMEOUT_S)
        check_flag(self.metrics_anywhere, "metrics_anywhere")
        _text(self.bind, "bind", hint="write tcp://HOST:PORT, such as tcp://127.0.0.1:5555")
        if self.metrics is not None:
            _text(self.metrics, "metrics", hint="write HOST:PORT, such as 127.0.0.1:9464")
        if not isinstance(self.credentials, Credentials | None):
            raise cannot_be(
                "credentials", self.credentials, hint="give those of securesplit.pki, or their folder as certs"
            )
        if not isinstance(self.pool, PoolSettings):
            raise cannot_be("pool", self.pool, hint="give PoolSettings")
        object.__setattr__(
            self, "metrics_hosts", _texts(self.metrics_hosts, "metrics_hosts", hint="give a list of names")
        )
        session_log = renamed(self.session_log, "session_log", audit_log, "audit_log")
        for name, path in (("certs", self.certs), ("bundle", self.bundle), ("session_log", session_log)):
            object.__setattr__(self, name, None if path is None else check_path(path, name))


def _text(value: object, name: str, *, hint: str) -> str:
    if not isinstance(value, str):
        raise cannot_be(name, value, hint=hint)
    return value


def _texts(value: object, name: str, *, hint: str) -> tuple[str, ...]:
    """Several texts; the letters of one are none."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise cannot_be(name, value, hint=hint)
    return tuple(_text(each, name, hint=hint) for each in value)


def check_ray_address(text: str) -> str:
    """The address of a Ray cluster.

    Raises:
        ConfigError: it is not ``HOST:PORT``.
    """
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"{text!r} is not HOST:PORT", hint="write the cluster's address, such as 10.0.0.11:6379")
    return text


def parse_workers(text: str) -> int:
    """Read ``--workers``: a number from 1 to 1024, or ``auto`` for one tail a usable core.

    Raises:
        ConfigError: it is neither.
    """
    if text == "auto":
        return usable_cores()
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_WORKERS:
        raise ConfigError(f"{text!r} is not a number of tails", hint="give a number from 1 to 1024, or auto")
    return int(text)
