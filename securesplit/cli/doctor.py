"""``securesplit doctor``: look at everything that can be wrong on this machine, and change nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securesplit import version
from securesplit.cli import native_stderr, param_types, terminal
from securesplit.cli.options import (
    certs_option,
    check_certs,
    connect_option,
    format_option,
    model_option,
    state_option,
    timeout_option,
)
from securesplit.cli.settings import command, settings_of
from securesplit.cli.settings_check import PREFIX
from securesplit.errors import SecureSplitError

if TYPE_CHECKING:
    from securesplit.cli.checks import Finding

SCHEMA = "securesplit.doctor/1"


@command("doctor")
@connect_option
@certs_option
@click.option(
    "--client",
    "client_name",
    type=param_types.CLIENT_NAME,
    help="Whose certificate must be in that folder.  [default with --connect: device]",
)
@model_option
@state_option
@timeout_option(10.0, "a worker")
@click.option(
    "--worker-metrics",
    metavar="HOST:PORT",
    help="Also ask the worker that serves its --metrics there how full its store of evaluation keys is.",
)
@format_option("Form of the report.")
def doctor(
    connect: tuple[str, ...],
    certs: Path,
    client_name: str | None,
    model: Path | None,
    state: Path | None,
    timeout_s: float,
    worker_metrics: str | None,
    style: str,
) -> int:
    """Check libraries, settings, bundle, certificates, clock, and this device's state; nothing is changed.

    With --connect also one real exchange: a handshake and the release of a lesion that is drawn for it. It concerns
    nobody and is not written to the ledger.

    The exit code is 0 where nothing is wrong (warnings included), else that of the first error.

    \b
    Examples:
      securesplit doctor
      securesplit doctor --connect tcp://tail.example.org:5555 --client clinic-1
      securesplit doctor --worker-metrics 127.0.0.1:9464
    """
    native_stderr.quiet_libraries()
    name = client_name or ("device" if connect else None)
    findings = []
    for finding in _examine(connect, certs, name, model, state, timeout_s, worker_metrics):
        findings.append(finding)
        if style == "text":
            _show(finding)
    code = next((f.exit_code for f in findings if f.level == "error"), 0)
    if style == "json":
        terminal.answer_json(_as_json(findings, code))
    else:
        terminal.answer(_summary(findings))
    return code


def _examine(
    connect: tuple[str, ...],
    certs: Path,
    client: str | None,
    model: Path | None,
    state: Path | None,
    timeout_s: float,
    worker: str | None,
) -> Iterator[Finding]:
    from securesplit.cli.checks import explained, failure, installation

    ctx, now = click.get_current_context(), datetime.now(UTC)
    yield from installation.check_libraries()
    yield from installation.check_plugins()
    yield from installation.check_formats()
    yield from installation.check_settings(settings_of(ctx))
    from securesplit.cli.checks import bundle, certificates, connection, encryption, machine

    privacy = _privacy_of_diagnose(ctx)
    yield from bundle.check_bundle(model, privacy)
    proofs = {
        "this copy of securesplit": version.installed_at(),
        "a certificate or revocation list": certificates.newest_date(certs),
    }
    yield from machine.check_clock(now, proofs)
    keys = certificates.CertsCheck(certs, client, now)
    yield from explained("certificates", keys.run)
    needed = state is not None or keys.may_be_device()
    yield from explained("state", lambda: machine.check_state(state, needed=needed))
    wanted = bundle.is_encrypted(model, privacy)
    yield from explained("encryption", lambda: encryption.check_encryption(state, wanted=wanted))
    yield machine.check_confinement()
    if worker is not None:
        yield encryption.check_worker(worker, model, wanted=wanted)
    if connect and client is not None:
        try:
            check_certs(ctx)
        except SecureSplitError as error:
            yield failure("connection", error)
            return
        yield from connection.check_connections(connect, certs, client, model, timeout_s, now, encrypted=wanted)


def _privacy_of_diagnose(ctx: click.Context) -> str | None:
    """What environment and settings file ask for; `diagnose` itself refuses what no bundle can give."""
    from securesplit.cli.diagnose import diagnose

    chosen = os.environ.get(f"{PREFIX}PRIVACY") or settings_of(ctx).of(diagnose).get("privacy")
    return None if chosen is None else str(chosen)


def _show(finding: Finding) -> None:
    terminal.answer(f"{finding.level:<8} {finding.check}: {finding.message}")
    if finding.hint:
        terminal.answer(f"{'':<8} hint: {finding.hint}")


def _summary(findings: list[Finding]) -> str:
    errors, warnings = (sum(f.level == level for f in findings) for level in ("error", "warning"))
    return f"{errors} error{'' if errors == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}"


def _as_json(findings: list[Finding], code: int) -> dict[str, Any]:
    levels = {f.level for f in findings}
    status = next((level for level in ("error", "warning") if level in levels), "ok")
    rows = [{"check": f.check, "level": f.level, "message": f.message, "hint": f.hint or None} for f in findings]
    return {"schema": SCHEMA, "status": status, "exit_code": code, "findings": rows}
