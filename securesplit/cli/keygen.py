"""``securesplit keygen``: the private CA, certificates and lists of one installation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from securesplit.cli import terminal, values
from securesplit.cli.settings import command
from securesplit.errors import ConfigError

if TYPE_CHECKING:
    from securesplit.channel.keystore import KeygenReport


@command(short_help="Make keys and certificates, renew or revoke them.")
@click.option(
    "--out",
    type=values.Location(file_okay=False),
    default=Path("certs"),
    show_default=True,
    help="Folder to write; an existing file is never overwritten.",
)
@click.option(
    "--server-name",
    "server_names",
    type=values.SERVER_NAME,
    multiple=True,
    metavar="NAME",
    help="DNS name or address of the worker; may be repeated.  [default: localhost, 127.0.0.1, ::1]",
)
@click.option(
    "--client",
    "clients",
    type=values.CLIENT_NAME,
    multiple=True,
    metavar="NAME",
    help="A client to issue a certificate to; may be repeated.  [default: device]",
)
@click.option("--days", type=values.DAYS, default=90, show_default=True, help="Lifetime of the certificates.")
@click.option("--renew", is_flag=True, help="Issue server and clients anew in place of the old files.")
@click.option(
    "--revoke", "revoked", multiple=True, metavar="NAME", help="Take a client's or a server's certificates back."
)
def keygen(
    out: Path,
    server_names: tuple[str, ...],
    clients: tuple[str, ...],
    days: int,
    renew: bool,
    revoked: tuple[str, ...],
) -> None:
    """Make the private CA, a server certificate and one for each client.

    Run again, it overwrites nothing and issues only what is missing, such as a new --client.

    \b
    Examples:
      securesplit keygen --server-name tail.example.org --client clinic-1
      securesplit keygen --renew
      securesplit keygen --revoke clinic-1
      securesplit keygen --revoke tail.example.org
    """
    from securesplit.channel import keystore

    if revoked and (renew or clients or server_names):
        raise ConfigError("--revoke goes with --out and --days only", hint="run keygen twice")
    now = datetime.now(UTC)
    if revoked:
        reports = [keystore.revoke(out, name, now=now, days=days) for name in dict.fromkeys(revoked)]
    elif renew:
        reports = [keystore.renew(out, server_names=server_names, clients=clients, days=days, now=now)]
    else:
        reports = [keystore.create(out, server_names=server_names, clients=clients, days=days, now=now)]
    for report in reports:
        for line in describe(report):
            terminal.answer(line)


def describe(report: KeygenReport) -> list[str]:
    """The report of a run in lines: paths, fingerprints and expiry, then what to do with the files."""
    lines = []
    for entry in report.entries:
        lines.append(f"{entry.title}: {entry.action}")
        if entry.action != "revoked":
            lines += [f"  certificate  {entry.certificate}", f"  key          {entry.key}"]
        lines += [f"  sha256       {entry.fingerprint}", f"  expires      {entry.expires_at:%Y-%m-%d %H:%M} UTC"]
    lines.append(f"revocation list: {report.crl}")
    if report.crl_until is not None:
        lines.append(f"  fresh until  {report.crl_until:%Y-%m-%d %H:%M} UTC")
    lines.append(f"allow-list: {report.allowed}")
    return [*lines, *(f"note: {note}" for note in report.notes)]
