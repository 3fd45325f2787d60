"""Types of option values: the rules that flags, environment, settings file and Python API share, as click types.

Each raises `ConfigError`, with the hint of the rule. `toml` names the TOML types that a settings file may hold for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from securesplit import config, i18n
from securesplit.errors import ConfigError
from securesplit.user_folders import absolute, from_home

MOST_DAYS = 825  # `securesplit.pki.profile.MAX_DAYS`, without loading cryptography


class Number(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """A number within a rule of `securesplit.config`.

    Args:
        name: of the kind of number, for ``--help``.
        check: takes value and flag, returns the number or raises `ConfigError`.
        toml: TOML types that stand for it.
    """

    def __init__(
        self, name: str, check: Callable[[object, str], float | None], *, toml: tuple[type, ...] = (int, float)
    ) -> None:
        self.name = name
        self.toml = toml
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Text of the command line, or a number of the settings file."""
        try:
            number = float(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        return self._check(number, name_of(param, ctx))


class WholeNumber(click.IntRange):
    """A whole number in a range, called so in messages."""

    name = "whole number"


class Bandwidth(click.ParamType):  # type: ignore[type-arg]  # likewise
    """Bits a second, written with their unit."""

    name = "bandwidth"
    toml: tuple[type, ...] = (str,)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Such as ``10Mbit/s`` or ``1.25 MB/s``; a number stays as it is."""
        return value if isinstance(value, float) else config.parse_bandwidth(str(value), name_of(param, ctx))


class AnyPath(click.Path):
    """A file or folder that whoever opens it tells of: what cannot be read is not a wrong command line.

    A ``~`` that no shell has replaced (within quotes, after ``--out=``, in a variable) is the user's folder.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, readable=False, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A path, but for ``~`` as it was written."""
        found = Path(os.fsdecode(super().convert(value, param, ctx)))
        return found if os.path.lexists(found) else from_home(os.fsdecode(value))


class Photo(AnyPath):
    """What stands for photos; never the empty text of an unset variable, which would mean the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A path, but for ``~`` as it was written."""
        if not str(value):
            raise ConfigError("a PHOTO is the empty text", hint="name a file or folder; . is the working folder")
        return super().convert(value, param, ctx)


class Location(AnyPath):
    """A file or folder; never the empty text, which would mean the working folder, nor ``-`` for no stream."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A path, as it was written, but from the root on where it begins with ``~``, which is no home any more."""
        if not str(value) or "\0" in str(value):
            raise ConfigError(f"{name_of(param, ctx)} is not a path", hint="name a file or folder")
        if str(value) == "-" and not self.allow_dash:
            raise ConfigError(f"{name_of(param, ctx)} takes no - for a stream", hint="name a file; ./- is called so")
        found = super().convert(value, param, ctx)
        return absolute(found) if str(found).startswith("~") else found


class Text(click.ParamType):  # type: ignore[type-arg]  # likewise
    """Text under a rule.

    Args:
        name: of the kind of text.
        check: returns normally or raises `ConfigError`.
        toml: TOML types that stand for it, such as a number for an ε.
    """

    def __init__(self, name: str, check: Callable[[str], object], *, toml: tuple[type, ...] = (str,)) -> None:
        self.name = name
        self.toml = toml
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        text = str(value)
        try:
            self._check(text)
        except ConfigError as error:
            raise ConfigError(f"{name_of(param, ctx)}: {error.message}", hint=error.hint) from None
        return text


def name_of(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """What messages call the value: its variable where it came from the environment, else ``--flag``."""
    if not isinstance(param, click.Option):
        return "value"
    if ctx is not None and ctx.get_parameter_source(str(param.name)) is ParameterSource.ENVIRONMENT:
        return param.envvar if isinstance(param.envvar, str) else str((param.envvar or [""])[0])
    return max(param.opts, key=len)


def _endpoint(text: str) -> object:
    from securesplit.transport.endpoint import Endpoint

    return Endpoint.parse(text)


def _listening(text: str) -> object:
    from securesplit.transport.endpoint import Endpoint

    return Endpoint.parse(text, listening=True)


def _health(text: str) -> object:
    from securesplit.transport.endpoint import Endpoint

    try:
        return Endpoint.parse(f"tcp://{text}", listening=True)
    except ConfigError:
        raise ConfigError(f"{text!r} is not HOST:PORT", hint="write HOST:PORT, such as 127.0.0.1:9464") from None


def _client(text: str) -> object:
    from securesplit.pki.naming import check_client_name

    return check_client_name(text)


def _server(text: str) -> object:
    from securesplit.pki.naming import check_server_name

    return check_server_name(text)


def _fingerprint(text: str) -> object:
    from securesplit.pki import lists

    if not lists.is_fingerprint(lists.fingerprint_digits(text)):
        raise ConfigError(f"{text!r} is not a fingerprint of SHA-256", hint="copy its 64 hex digits, dashes or not")
    return text


def _workers(text: str) -> object:
    from securesplit.worker.settings import parse_workers

    return parse_workers(text)


def _ray_address(text: str) -> object:
    from securesplit.worker.settings import check_ray_address

    return check_ray_address(text)


def _privacy(text: str) -> object:
    if not text.strip():
        raise ConfigError("it is empty", hint="name a preset of the bundle, or give an epsilon")
    config.check_privacy(text)
    return text


def _language(text: str) -> None:
    i18n.check(text, config.locale_folder())


TIMEOUT = Number("seconds", config.check_timeout_s)
BUDGET = Number("epsilon", config.check_budget)
MINUTES = Number("minutes", lambda value, flag: config.check_number(value, flag, least=0.1, most=10_080))
DAYS = Number("days", lambda value, flag: config.check_count(value, flag, least=1, most=MOST_DAYS), toml=(int,))
SECONDS = Number("seconds", lambda value, flag: config.check_number(value, flag, least=1, most=86_400))
SPEED = Number("factor", lambda value, flag: config.check_number(value, flag, least=0.001, most=1000))
ROUND_TRIP = Number("milliseconds", lambda value, flag: config.check_number(value, flag, least=0, most=60_000))
SKILL = Number("skill", lambda value, flag: config.check_number(value, flag, least=0, most=1))
BANDWIDTH = Bandwidth()
ENDPOINT = Text("endpoint", _endpoint)
BIND = Text("endpoint", _listening)
HEALTH = Text("address", _health)
CLIENT_NAME = Text("name", _client)
SERVER_NAME = Text("name", _server)
FINGERPRINT = Text("fingerprint", _fingerprint)
WORKERS = Text("number", _workers, toml=(str, int))
RAY_ADDRESS = Text("address", _ray_address)
LANGUAGE = Text("language", _language)
PRIVACY = Text("preset", _privacy, toml=(str, int, float))
