"""``securesplit ui``: the local page."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable

import click

from securesplit import i18n
from securesplit.cli import native_stderr, param_types, terminal
from securesplit.cli.client_flags import ClientFlags, client_flags
from securesplit.cli.settings import command, source_of
from securesplit.errors import ConfigError, OutputError
from securesplit.i18n import gettext as _
from securesplit.text import pip_install

PACKAGES = ("starlette", "uvicorn", "jinja2")
"""Of the extra ``ui``."""


@command()
@client_flags
@click.option(
    "--port",
    type=param_types.WholeNumber(0, 65_535),
    metavar="PORT",
    default=0,
    show_default="any that is free",
    help="Port on 127.0.0.1; no other machine can reach it.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def ui(
    asked: ClientFlags,
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
    from securesplit.device.async_client import AsyncClient
    from securesplit.ui.server import open_browser, serve

    native_stderr.quiet_libraries()
    lang = _chosen_language(click.get_current_context())
    shown = _Addresses(None if no_browser else open_browser)
    with asked.clients(AsyncClient) as (new_client, workers):
        serve(new_client, port, workers=workers, state=asked.state, lang=lang, on_address=shown)
    return 0


def _check_packages() -> None:
    """Raises ConfigError where the extra is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise ConfigError(
            f"the page needs packages that are not installed ({names})", hint=pip_install("securesplit[ui]")
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
        with contextlib.suppress(OutputError):  # nobody reads it; the page stays open
            terminal.answer(address)
        if not self._is_first:
            return
        self._is_first = False
        terminal.note(_("open this address in a browser on this device; it works once. Ctrl-C ends the page"))
        if self._opening is not None:
            self._opening(address)
