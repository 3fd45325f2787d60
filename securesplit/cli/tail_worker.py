"""``securesplit tail-worker``: serve the network's tail until a signal ends it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securesplit import tracing
from securesplit.cli import param_types
from securesplit.cli.options import certs_option, model_option, otel_option
from securesplit.cli.settings import command
from securesplit.errors import ConfigError, SecureSplitError
from securesplit.text import log_counted

if TYPE_CHECKING:
    from securesplit.cli.logs import Form
    from securesplit.worker.service import Ready
    from securesplit.worker.settings import RaySettings, WorkerSettings

_log = logging.getLogger(__name__)
_NODE_S = 900.0
"""What a tail may take to start on Ray, whose autoscaler may have to start a machine first."""


@command()
@click.option(
    "--bind",
    required=True,
    type=param_types.BIND,
    metavar="ENDPOINT",
    help="Where to listen, tcp://HOST:PORT; port 0: any.",
)
@click.option(
    "--workers",
    type=param_types.WORKERS,
    default="auto",
    show_default=True,
    metavar="N",
    help="Tails; auto: one a core, or with --engine ray one.",
)
@click.option(
    "--engine",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Where tails run: on this machine, or as actors of a Ray cluster.",
)
@click.option(
    "--ray-address",
    type=param_types.RAY_ADDRESS,
    metavar="HOST:PORT",
    help="The Ray cluster, of which this machine is a node; with --engine ray.",
)
@click.option("--ray-anywhere", is_flag=True, help="Accept nodes with public addresses, on which Ray listens too.")
@click.option(
    "--max-workers",
    type=param_types.WholeNumber(1, 1_024),
    metavar="N",
    help="Tails that there may be while requests wait.  [default: as --workers]",
)
@certs_option
@model_option
@click.option("--pin", is_flag=True, help="A core of its own for each tail; for a machine that does nothing else.")
@click.option(
    "--evaluation-key-memory",
    type=param_types.WholeNumber(64, 1 << 20),
    default=1024,
    show_default=True,
    metavar="MIB",
    help="Memory for the evaluation keys of devices with the preset encrypted, 27 MB each.",
)
@click.option(
    "--metrics",
    type=param_types.HEALTH,
    metavar="HOST:PORT",
    help="Serve /metrics, /livez and /readyz there.  [default: nowhere]",
)
@click.option("--metrics-anywhere", is_flag=True, help="Let other machines reach --metrics.")
@click.option(
    "--metrics-host",
    "metrics_hosts",
    multiple=True,
    metavar="NAME",
    help="A name that --metrics is asked by, besides its addresses and localhost; may be repeated.",
)
@click.option(
    "--session-log",
    type=param_types.Location(),
    metavar="FILE",
    help="Append a line for each session that begins or ends; opened again on SIGHUP.  [default: none]",
)
@otel_option
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def tail_worker(log_level: str, log_format: Form, otel: bool, **options: Any) -> int:
    """Serve the network's tail to clients with a certificate that `keygen` issued.

    SIGTERM and Ctrl-C finish what was accepted and end the worker; a second one ends it at once. Changed
    certificates and revocation lists are in force within a second; SIGHUP reads them at once and reopens the session
    log.

    \b
    Examples:
      securesplit tail-worker --bind tcp://0.0.0.0:5555 --workers 4
      securesplit tail-worker --bind tcp://0.0.0.0:5555 --metrics 127.0.0.1:9464
      securesplit tail-worker --bind tcp://0.0.0.0:5555 --engine ray \\
        --ray-address 10.0.0.11:6379 --max-workers 16
    """
    from securesplit.cli.logs import logging_to_stderr
    from securesplit.worker.service import serve

    settings = _settings(show_tail_errors=log_level == "debug", **options)
    with logging_to_stderr(log_level, log_format), tracing.exporting("securesplit-worker", wanted=otel):
        try:
            return serve(settings, on_ready=_log_ready)
        except SecureSplitError as error:
            if log_format == "text":
                raise
            fields = {"why": error.message, "hint": error.hint, "exit_code": error.exit_code}
            _log.error("%(why)s (hint: %(hint)s)", fields, extra={"event": "failed"})
            return error.exit_code


def _settings(
    *,
    bind: str,
    workers: str,
    certs: Path,
    model: Path | None,
    metrics: str | None,
    metrics_anywhere: bool,
    metrics_hosts: tuple[str, ...],
    session_log: Path | None,
    pin: bool,
    evaluation_key_memory: int,
    show_tail_errors: bool,
    engine: str,
    ray_address: str | None,
    ray_anywhere: bool,
    max_workers: int | None,
) -> WorkerSettings:
    from securesplit.worker.settings import START_TIMEOUT_S, PoolSettings, WorkerSettings, parse_workers

    if metrics is None:
        _check_ignored("--metrics HOST:PORT", {"--metrics-anywhere": metrics_anywhere, "--metrics-host": metrics_hosts})
    ray = _ray_settings(ray_address, anywhere=ray_anywhere, pin=pin) if engine == "ray" else None
    if ray is None:
        _check_ignored("--engine ray", {"--ray-address": ray_address, "--ray-anywhere": ray_anywhere})
    count = 1 if ray is not None and workers == "auto" else parse_workers(workers)
    return WorkerSettings(
        bind,
        certs=certs,
        bundle=model,
        workers=count,
        metrics=metrics,
        metrics_anywhere=metrics_anywhere,
        metrics_hosts=metrics_hosts,
        session_log=session_log,
        pool=PoolSettings(
            workers=count,
            most_workers=max_workers or 0,
            show_tail_errors=show_tail_errors,
            pin=pin,
            evaluation_key_bytes=evaluation_key_memory << 20,
            start_timeout_s=START_TIMEOUT_S if ray is None else _NODE_S,
            ray=ray,
        ),
    )


def _ray_settings(address: str | None, *, anywhere: bool, pin: bool) -> RaySettings:
    from securesplit.worker.settings import RaySettings

    if address is None or pin:
        wrong = "--pin is of this machine's cores" if pin else "--engine ray needs --ray-address"
        raise ConfigError(wrong, hint="name the cluster with --ray-address HOST:PORT, and leave --pin out")
    return RaySettings(address, anywhere=anywhere)


def _check_ignored(main: str, others: Mapping[str, object]) -> None:
    """Raise ConfigError where one of `others` is set, which means nothing without `main`."""
    for flag, value in others.items():
        if value:
            raise ConfigError(f"{flag} does nothing without {main}", hint=f"give {main} too, or leave {flag} out")


def _log_ready(ready: Ready) -> None:
    fields = {
        "endpoint": ready.endpoint,
        "tails": ready.workers,
        "bundle": ready.bundle_id,
        "expires": ready.expires_at.isoformat(),
        "metrics": ready.metrics,
    }
    text = f"ready at %(endpoint)s with {log_counted('tails', ready.workers, 'tail')}, bundle %(bundle)s"
    text += f", certificate until {ready.expires_at:%Y-%m-%d %H:%M} UTC"
    if ready.metrics:
        text += ", health and metrics at http://%(metrics)s"
    _log.info(text, fields, extra={"event": "ready"})
