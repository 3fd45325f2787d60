"""The arguments that both clients share, in one place: their names, what they mean, and the check of their form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from securesplit.config import cannot_be, check_flag, check_path, check_timeout_s, renamed
from securesplit.pki.credentials import Credentials
from securesplit.transport.endpoint import LOOPBACK, LOOPBACK_NAMES, Endpoint, is_loopback

DEFAULT_ENDPOINT = f"tcp://{LOOPBACK}:5555"

_P = ParamSpec("_P")


@dataclass(frozen=True)
class ClientOptions:
    """What `Client` and `AsyncClient` are called with.

    Args:
        connect: endpoints ``tcp://host:port`` of workers; the next one is tried where one does not answer, and many
            photos are shared out among all of them.
        certs: the folder that ``securesplit keygen`` wrote.
        client: whose certificate under ``certs/clients`` to use.
        privacy: a preset of the bundle or an ε; None: the bundle's default preset. One that does not protect the photo
            is warned of, once, on the logger ``securesplit.privacy``, and has the claim "none" in every result.
        budget: largest ε (at δ = 1e-5) of all that this device ever releases; None: no limit.
        state: folder of the device's secrets and ledger; None: the user's own.
        model: folder of the bundle; None: the one that comes with the package.
        timeout_s: seconds from a request's start until its answer is given up, 0.1 to 86,400.
        credentials: already loaded, instead of `certs`.
        local: the worker is a part of this very program (`securesplit.worker.EmbeddedWorker`): nothing leaves the
            device, so the ledger is left alone and no budget is spent. Refused for the address of another machine.
        anyway: ask about photos that would be refused, too; the diagnosis says why in `Diagnosis.overridden`.
        bundle: earlier name of `model`.
        name: earlier name of `client`.

    Raises:
        BundleError: the bundle cannot be read or has no such preset.
        ConfigError: an argument makes no sense.
        CredentialError: keys or certificates are missing or not valid.
    """

    connect: str | Sequence[str] = DEFAULT_ENDPOINT
    _: KW_ONLY
    certs: str | Path = "certs"
    client: str = "device"
    privacy: str | float | None = None
    budget: float | None = None
    state: str | Path | None = None
    model: str | Path | None = None
    timeout_s: float = 30.0
    credentials: Credentials | None = None
    local: bool = False
    anyway: bool = False
    bundle: str | Path | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        self._set("connect", _checked_endpoints(self.connect))
        self._set("timeout_s", check_timeout_s(self.timeout_s))
        self._set("model", renamed(self.model, "model", self.bundle, "bundle"))
        self._set("certs", check_path(self.certs, "certs"))
        self._set("client", renamed(self.client, "client", self.name, "name"))
        if not isinstance(self.client, str):
            raise cannot_be("client", self.client, hint="give the name that keygen gave the device, such as device")
        if not isinstance(self.credentials, Credentials | None):
            raise cannot_be(
                "credentials", self.credentials, hint="give those of securesplit.pki, or their folder as certs"
            )
        for flag in ("local", "anyway"):
            self._set(flag, check_flag(getattr(self, flag), flag))
        if self.local:
            self._check_local()

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)  # frozen for all others

    def _check_local(self) -> None:
        for endpoint in self.endpoints:
            host = Endpoint.parse(endpoint).host
            if not (is_loopback(host) or host in LOOPBACK_NAMES):
                hint = f"what goes to {endpoint} leaves this machine, and is counted: leave local out"
                raise cannot_be("local", self.local, hint=hint)

    @property
    def endpoints(self) -> list[str]:
        """The endpoints, also where there is only one."""
        return [self.connect] if isinstance(self.connect, str) else list(self.connect)


def _checked_endpoints(connect: object) -> str | tuple[str, ...]:
    """One endpoint, or several; their form is for whoever uses them."""
    if isinstance(connect, str):
        return connect
    several = tuple(connect) if isinstance(connect, Iterable) else (connect,)
    if all(isinstance(each, str) for each in several):
        return several
    raise cannot_be("connect", connect, hint=f"give an endpoint, such as {DEFAULT_ENDPOINT}, or a list of them")


def takes(
    options: Callable[_P, ClientOptions],
) -> Callable[[Callable[[Any, ClientOptions], None]], Callable[Concatenate[Any, _P], None]]:
    """Have an ``__init__`` called with the arguments of `options`, and ``help`` and editors show them as its own."""

    def decorate(init: Callable[[Any, ClientOptions], None]) -> Callable[Concatenate[Any, _P], None]:
        def __init__(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> None:  # noqa: N807  (its name in a traceback)
            init(self, options(*args, **kwargs))

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        taken = inspect.signature(options)
        __init__.__signature__ = taken.replace(parameters=[own, *taken.parameters.values()])  # type: ignore[attr-defined]
        __init__.__doc__, __init__.__qualname__ = options.__doc__, init.__qualname__
        return __init__

    return decorate
