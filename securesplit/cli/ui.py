"""``securesplit ui``: the local page."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securesplit import i18n
from securesplit.cli import native_stderr, terminal
from securesplit.cli.options import (
    budget_option,
    certs_option,
    check_certs,
    client_option,
    connect_option,
    model_option,
    privacy_option,
    state_option,
    timeout_option,
)
from securesplit.cli.settings import command, source_of
from securesplit.errors import ConfigError, OutputError
from securesplit.i18n import gettext as _

if TYPE_CHECKING:
    from securesplit.device.async_client import AsyncClient

Asking = tuple[Callable[[], "AsyncClient"], tuple[str, ...]]
"""What makes the client, and the workers that it asks; none where the worker is a part of this program."""
PACKAGES = ("starlette", "uvicorn", "jinja2")
"""Of the extra ``ui``."""


@command()
@connect_option
@certs_option
@client_option
@privacy_option
@model_option
@state_option
@timeout_option(30.0, "an answer")
@budget_option
@click.option("--embedded", is_flag=True, help="Start a private worker for this page; needs no keys.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default="any that is free",
    help="Port on 127.0.0.1; no other machine can reach it.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def ui(
    connect: tuple[str, ...],
    certs: Path,
    client_name: str,
    privacy: str | None,
    model: Path | None,
    state: Path | None,
    timeout_s: float,
    budget: float | None,
    embedded: bool,
    port: int,
    no_browser: bool,
) -> int:
    """Serve a page on this device: drop, paste or take a photo, see the answer, and what left the device for it.

    The page asks the same workers under the same settings as `diagnose`. It is reached from this machine only, by an
    address that is printed and opens it once; whenever one was used, the next one is printed. Nothing is written down
    unless you begin a history in the page. Ctrl-C ends it.

    \b
    Examples:
      securesplit ui --embedded
      securesplit ui --connect tcp://clinic:5555 --port 8000 --no-browser
    """
    _check_packages()
    from securesplit.ui.server import open_browser, serve

    native_stderr.quiet_litert()
    context = click.get_current_context()
    if not embedded:
        check_certs(context)
    settings = {"privacy": privacy, "model": model, "state": state, "timeout_s": timeout_s, "budget": budget}
    shown = _Addresses(None if no_browser else open_browser)
    with (
        _embedded(settings) if embedded else _connected(connect, certs, client_name, settings) as (new_client, workers)
    ):
        serve(new_client, port, workers=workers, state=state, lang=_chosen_language(context), on_address=shown)
    return 0


def _check_packages() -> None:
    """Raises ConfigError where the extra is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise ConfigError(
            f"the page needs packages that are not installed ({names})", hint="pip install 'securesplit[ui]'"
        )


def _chosen_language(context: click.Context) -> str | None:
    """The language that was asked for by flag, variable or settings file; None: the browser's will do."""
    is_chosen = context.find_root().params.get("lang") or source_of(context, "lang").kind != "default"
    return i18n.language() if is_chosen else None


class _Addresses:
    """Prints each address of the page; the first one is also opened in the browser.

    Args:
        opening: opens an address; None: nobody does.
    """

    def __init__(self, opening: Callable[[str], None] | None) -> None:
        self._opening = opening
        self._is_first = True

    def __call__(self, address: str) -> None:
        """Show one."""
        with contextlib.suppress(OutputError):  # nobody reads it; the page goes on
            terminal.answer(address)
        if not self._is_first:
            return
        self._is_first = False
        terminal.note(_("open this address in a browser on this device; it works once. Ctrl-C ends the page"))
        if self._opening is not None:
            self._opening(address)


@contextlib.contextmanager
def _connected(connect: tuple[str, ...], certs: Path, name: str, settings: dict[str, Any]) -> Iterator[Asking]:
    from securesplit.device.async_client import AsyncClient
    from securesplit.device.client import DEFAULT_ENDPOINT

    workers = connect or (DEFAULT_ENDPOINT,)
    yield lambda: AsyncClient(workers, certs=certs, client=name, **settings), workers


@contextlib.contextmanager
def _embedded(settings: dict[str, Any]) -> Iterator[Asking]:
    from securesplit.device.async_client import AsyncClient
    from securesplit.worker import EmbeddedWorker

    with EmbeddedWorker(settings["model"]) as worker:
        yield (
            lambda: AsyncClient(worker.endpoint, credentials=worker.client_credentials, local=True, **settings),
            (),
        )
