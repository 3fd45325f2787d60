"""The options of commands that ask a worker, and the client that is made of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

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
from securesplit.cli.settings import source_of
from securesplit.errors import ConfigError

Made = TypeVar("Made")


@dataclass(frozen=True)
class ClientFlags:
    """Which worker is asked, and how; the attributes are those of the flags."""

    connect: tuple[str, ...]
    certs: Path
    client_name: str
    privacy: str | None
    model: Path | None
    state: Path | None
    timeout_s: float
    budget: float | None
    embedded: bool

    @contextlib.contextmanager
    def clients(self, kind: Callable[..., Made], **more: Any) -> Iterator[tuple[Callable[[], Made], tuple[str, ...]]]:
        """What makes a client, and the workers that it asks; none where the worker is a part of this program.

        Args:
            kind: `Client` or `AsyncClient`.
            more: of its arguments.

        Raises:
            ConfigError: nobody has said which keys are to be used, or a worker was named that would not be asked.
        """
        ctx = click.get_current_context()
        names = ("privacy", "model", "state", "timeout_s", "budget")
        shared: dict[str, Any] = {name: getattr(self, name) for name in names} | more
        if self.embedded:
            _check_unnamed(ctx)
            from securesplit.worker import EmbeddedWorker

            with EmbeddedWorker(self.model) as worker:
                own = worker.client_credentials
                yield functools.partial(kind, worker.endpoint, credentials=own, local=True, **shared), ()
            return
        from securesplit.device.options import DEFAULT_ENDPOINT

        check_certs(ctx)
        workers = self.connect or (DEFAULT_ENDPOINT,)
        yield functools.partial(kind, workers, certs=self.certs, client=self.client_name, **shared), workers


def _check_unnamed(ctx: click.Context) -> None:
    """Refuse a worker that was named beside an embedded one; one in the settings is for other times."""
    if (connect := source_of(ctx, "connect")).kind == "flag":
        message = f"{source_of(ctx, 'embedded')} asks a worker of its own, so {connect} would be ignored"
        raise ConfigError(message, hint="leave one of them out; SECURESPLIT_EMBEDDED=0 overrides the settings")


_OPTIONS = (
    connect_option,
    certs_option,
    client_option,
    privacy_option,
    model_option,
    state_option,
    timeout_option(30.0, "an answer"),
    budget_option,
    click.option("--embedded", is_flag=True, help="Start a private worker for this command; needs no keys."),
)


def client_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of `ClientFlags`, which the command gets as its argument `asked`."""

    @functools.wraps(command)
    def collected(**arguments: Any) -> Any:
        return command(
            asked=ClientFlags(**{each.name: arguments.pop(each.name) for each in fields(ClientFlags)}), **arguments
        )

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected
