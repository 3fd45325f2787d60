"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from securesplit.cli import param_types
from securesplit.cli.settings import source_of
from securesplit.errors import ConfigError
from securesplit.user_folders import absolute, state_folder

DEFAULT_CERTS = Path("certs")
Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


def _absolute(_ctx: click.Context, _option: click.Parameter, folder: Path) -> Path:
    return absolute(folder)


def _state(ctx: click.Context, option: click.Parameter, folder: Path | None) -> Path | None:
    """What the flag or the settings file names; the variable has a rule of its own, which the Python API shares."""
    is_variable = ctx.get_parameter_source(str(option.name)) is ParameterSource.ENVIRONMENT
    return state_folder() if is_variable else folder


photos_argument = click.argument("photos", nargs=-1, required=True, type=param_types.Photo(), metavar="PHOTO...")
connect_option = click.option(
    "--connect",
    multiple=True,
    type=param_types.ENDPOINT,
    metavar="ENDPOINT",
    help="Worker at tcp://HOST:PORT; may be repeated.",
)
certs_option = click.option(
    "--certs",
    type=param_types.Location(),
    default=DEFAULT_CERTS,
    callback=_absolute,
    show_default="certs in the working folder",
    help="Folder of keys and certificates.",
)
client_option = click.option(
    "--client",
    "client_name",
    type=param_types.CLIENT_NAME,
    default="device",
    show_default=True,
    help="Whose certificate in that folder to use.",
)
privacy_option = click.option(
    "--privacy",
    type=param_types.PRIVACY,
    metavar="PRESET",
    help="Preset of the bundle (encrypted, certified, ...), or an epsilon for certified.  [default: the bundle's]",
)
model_option = click.option(
    "--model",
    type=param_types.Location(),
    metavar="BUNDLE",
    help="Bundle folder.  [default: the one in the package]",
)
state_option = click.option(
    "--state",
    type=param_types.Location(),
    callback=_state,
    help="Folder of this device's secrets and ledger.  [default: the user's]",
)
budget_option = click.option("--budget", type=param_types.BUDGET, help="Largest epsilon that this device may spend.")
otel_option = click.option(
    "--otel", is_flag=True, help="Send traces to the OpenTelemetry collector of OTEL_EXPORTER_OTLP_ENDPOINT."
)
anyway_option = click.option(
    "--anyway", is_flag=True, help="Do not refuse photos that are blurred, dark, cut off or show no mole."
)


def format_option(what: str, *others: str) -> Callable[[Command], Command]:
    """``--format`` of the answer, as the argument `style`.

    Args:
        what: its line in ``--help``.
        others: forms besides ``text``, the default, and ``json``.
    """
    forms = click.Choice(["text", "json", *others])
    return click.option("--format", "style", type=forms, default="text", show_default=True, help=what)


def timeout_option(default: float, what: str) -> Callable[[Command], Command]:
    """``--timeout`` in seconds."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=param_types.TIMEOUT,
        default=default,
        show_default=True,
        help=f"Seconds to wait for {what}.",
    )


def check_certs(ctx: click.Context) -> None:
    """Refuse the working folder's ``certs`` where it would decide whom to trust and nobody has named it.

    A folder of photos may hold a stranger's ``certs``. It is taken as the default only where the worker was named on
    this very command line (or is the default on this machine), and where it belongs to this user.

    Raises:
        ConfigError: the worker's address comes from elsewhere, or the folder is another user's.
    """
    if source_of(ctx, "certs").kind != "default":
        return
    folder, hint = ctx.params["certs"], "name the folder that keygen wrote with --certs, or with certs in your settings"
    connect = source_of(ctx, "connect")
    if connect.kind not in ("flag", "default"):
        raise ConfigError(f"{connect} names a worker, but nothing says which keys to use for it", hint=hint)
    if folder.is_dir() and _is_foreign(folder):
        raise ConfigError(f"{folder} belongs to another user", hint=hint)


def _is_foreign(folder: Path) -> bool:
    return os.name == "posix" and folder.stat().st_uid not in (os.geteuid(), 0)
