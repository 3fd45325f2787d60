"""``securesplit tail-worker``: serve the network's tail until a signal ends it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from securesplit.cli.options import model_option

if TYPE_CHECKING:
    from securesplit.worker.service import Ready


@click.command(short_help="Serve the network's tail to authenticated clients.")
@click.option("--bind", required=True, metavar="ENDPOINT", help="Where to listen, tcp://HOST:PORT; port 0: any.")
@click.option("--workers", default="auto", show_default=True, metavar="N", help="Tail processes; auto: one a core.")
@click.option(
    "--certs",
    type=click.Path(path_type=Path),
    default=Path("certs"),
    show_default=True,
    help="Folder that keygen wrote; read again when it changes.",
)
@model_option
@click.option("--pin", is_flag=True, help="A core of its own for each tail; for a machine that does nothing else.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True)
def tail_worker(bind: str, workers: str, certs: Path, model: Path | None, pin: bool, log_level: str) -> int:
    """Serve the network's tail to clients with a certificate that `keygen` issued.

    SIGTERM and Ctrl-C finish what was accepted and end the worker; a second one ends it at once. Changed
    certificates and revocation lists are in force within a second; SIGHUP reads them at once.

    \b
    Example:
      securesplit tail-worker --bind tcp://0.0.0.0:5555 --workers 4
    """
    from securesplit.worker.service import serve
    from securesplit.worker.settings import PoolSettings, WorkerSettings, parse_workers

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    pool = PoolSettings(show_tail_errors=log_level == "debug", pin=pin)
    settings = WorkerSettings(bind, certs=certs, bundle=model, workers=parse_workers(workers), pool=pool)
    return serve(settings, on_ready=_announce)


def _announce(ready: Ready) -> None:
    tails = f"{ready.workers} tail{'s' if ready.workers > 1 else ''}"
    expiry = f"{ready.expires_at:%Y-%m-%d %H:%M} UTC"
    click.echo(
        f"ready at {ready.endpoint} with {tails}, bundle {ready.bundle_id}, certificate until {expiry}", err=True
    )
