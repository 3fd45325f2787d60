"""``securesplit keygen``: the private CA, certificates and lists of one installation, and answers to requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securesplit import version
from securesplit.cli import exchange, param_types, terminal
from securesplit.cli.exchange import PIPE, format_fingerprint
from securesplit.cli.options import format_option
from securesplit.cli.settings import command, source_of
from securesplit.errors import ConfigError, CredentialError

if TYPE_CHECKING:
    from securesplit.pki.cert_inventory import Certificate, Inventory
    from securesplit.pki.csr import CertificateRequest
    from securesplit.pki.keystore import KeygenReport
    from securesplit.pki.signing import Signed

SCHEMA = "securesplit.certificates/1"


@command()
@click.option(
    "--out",
    type=param_types.Location(file_okay=False),
    default=Path("certs"),
    show_default=True,
    help="Folder to write; an existing file is never overwritten.",
)
@exchange.server_name_option(
    "DNS name or address of the worker; may be repeated.  [default: localhost, 127.0.0.1, ::1]"
)
@click.option(
    "--client",
    "clients",
    type=param_types.CLIENT_NAME,
    multiple=True,
    metavar="NAME",
    help="A client to issue a certificate to; may be repeated.  [default: device]",
)
@click.option(
    "--days",
    type=param_types.DAYS,
    default=90,
    show_default=True,
    help="Lifetime of the certificates; with --revoke, of the list, which else stays as long.",
)
@click.option("--renew", is_flag=True, help="Issue server and clients again in place of the old files.")
@click.option(
    "--revoke", "revoked", multiple=True, metavar="NAME", help="Take a client's or a server's certificates back."
)
@click.option(
    "--sign",
    type=param_types.Location(allow_dash=True),
    metavar="REQUEST",
    help="Answer the request that enroll made on a device or worker; - for stdin.",
)
@click.option(
    "--answer",
    type=param_types.Location(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="With --sign: file to write; - for stdout.  [default: REQUEST's name with .answer.pem]",
)
@exchange.fingerprint_option("With --sign: of the key, as enroll shows it")
@click.option("--new-key", is_flag=True, help="With --sign: the name had another key before, or was revoked.")
@click.option("--list", "listed", is_flag=True, help="Show who has a certificate, until when, and who is revoked.")
@format_option("Form of the list.")
@click.pass_context
def keygen(
    ctx: click.Context,
    out: Path,
    server_names: tuple[str, ...],
    clients: tuple[str, ...],
    days: int,
    renew: bool,
    revoked: tuple[str, ...],
    sign: Path | None,
    answer: Path | None,
    fingerprint: str | None,
    new_key: bool,
    listed: bool,
    style: str,
) -> None:
    """Make the private CA, a server certificate and one for each client; or answer requests of securesplit enroll.

    Run again, it overwrites nothing and issues only what is missing, such as a new --client.

    \b
    Examples:
      securesplit keygen                        everything for one machine
      securesplit keygen --sign clinic-1.csr    for a device that keeps its key
      securesplit keygen --list
      securesplit keygen --renew
      securesplit keygen --revoke clinic-1
      securesplit keygen --revoke tail.example.org
    """
    _check_flags(ctx)
    if listed:
        _list(out, style)
    elif sign is not None:
        _sign(out, sign, answer, days=days, fingerprint=fingerprint, new_key=new_key)
    else:
        exactly = days if source_of(ctx, "days").kind == "flag" else None
        issued = {"server_names": server_names, "clients": clients, "days": days}
        _make(out, revoked, issued, renew=renew, exactly=exactly)


_COMPANIONS = {
    "listed": {"style"},
    "sign": {"answer", "fingerprint", "new_key", "days"},
    "revoked": {"days"},
    "renew": {"server_names", "clients", "days"},
}
"""Which flags, besides --out, go with each of those that say what to do."""
_NEEDED = {"answer": "sign", "fingerprint": "sign", "new_key": "sign", "style": "listed"}


def _check_flags(ctx: click.Context) -> None:
    """That the flags of the command line belong together; settings for other commands do not matter here."""
    flags = {name: source.where for name in ctx.params if (source := source_of(ctx, name)).kind == "flag"}
    for task, companions in _COMPANIONS.items():
        if task not in flags:
            continue
        strangers = [flag for name, flag in flags.items() if name not in {task, "out", *companions}]
        if strangers:
            raise ConfigError(f"{flags[task]} does not go with {strangers[0]}", hint="run keygen twice")
    for name, task in _NEEDED.items():
        if name in flags and task not in flags:
            raise ConfigError(f"{flags[name]} goes with --{task.removesuffix('ed')}", hint="securesplit keygen --help")


def _make(out: Path, revoked: tuple[str, ...], issued: dict[str, Any], *, renew: bool, exactly: int | None) -> None:
    """Revoke, by a list that is good for `exactly` so many days, or issue to whom `issued` names for those it says."""
    from securesplit.pki import keystore

    now = _now()
    for name in dict.fromkeys(revoked):  # told of one by one: an error of a later one takes none of them back
        exchange.report(describe(keystore.revoke(out, name, now=now, days=exactly)), aside=False)
    if not revoked:
        exchange.report(describe((keystore.renew if renew else keystore.create)(out, now=now, **issued)), aside=False)


def _sign(out: Path, path: Path, answer: Path | None, *, days: int, fingerprint: str | None, new_key: bool) -> None:
    from securesplit.pki import csr, signing

    where, now = exchange.display_name(path), _now()
    request = csr.parse(exchange.read_input(path, csr.MAX_BYTES), where=where)
    csr.check_age(request, where=where, now=now)
    target = answer or (path if path == PIPE else path.with_suffix(".answer.pem"))
    is_piped = target == PIPE
    exchange.report(_asks(request, where), aside=is_piped)
    standing = signing.examine(out, request, new_key=new_key)
    if fingerprint is not None or not standing.is_renewal:
        exchange.confirm_fingerprint(
            request.fingerprint, fingerprint, what="the key of the request", shown_by=request.title
        )
    signed = signing.sign(out, request, None if is_piped else target, days=days, now=now, new_key=new_key)
    if is_piped:
        terminal.write_answer(signed.answer.decode("ascii"))
    exchange.report(_signed(signed, request, target, is_renewal=standing.is_renewal), aside=is_piped)


def _now() -> datetime:
    """This machine's time.

    Raises:
        CredentialError: it lies more than a day before this copy of securesplit was made, as on a machine whose clock
            starts from 1970; what is signed then is over as soon as the clock is right.
    """
    now, installed = datetime.now(UTC), version.installed_at()
    if now < installed - timedelta(days=1):
        message = (
            f"the clock says {now:%Y-%m-%d %H:%M} UTC, but this copy of securesplit was made on {installed:%Y-%m-%d}"
        )
        raise CredentialError(message, hint="set this machine's clock: certificates begin and end by it")
    return now


def _asks(request: CertificateRequest, where: str) -> list[str]:
    made = "it does not say" if request.made_at is None else f"{request.made_at:%Y-%m-%d %H:%M} UTC"
    return [
        f"request: {where}",
        f"  asks for     {request.title}",
        f"  made         {made}",
        f"  fingerprint  {format_fingerprint(request.fingerprint)}",
    ]


def _signed(signed: Signed, request: CertificateRequest, target: Path, *, is_renewal: bool) -> list[str]:
    from securesplit.pki import profile

    certificate = signed.certificate
    lines = [
        f"{request.title}: {'renewed, for the key that it had' if is_renewal else 'signed'}",
        f"  answer       {'to standard output' if target == PIPE else target}",
        f"  sha256       {profile.fingerprint(certificate)}",
        f"  expires      {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
        f"CA: {'created' if signed.is_new_ca else 'kept'}",
        f"  fingerprint  {format_fingerprint(profile.fingerprint(signed.ca))}",
    ]
    if target != PIPE:
        lines.append("note: bring the answer back, for securesplit enroll --install, which must show the same CA")
    if not request.is_server:
        lines.append("note: copy crl.pem and allowed-clients.txt to the worker, which notices within a second")
    return lines


def _list(out: Path, style: str) -> None:
    from securesplit.pki import cert_inventory

    now = datetime.now(UTC)
    found = cert_inventory.take(out, now=now)
    if style == "json":
        terminal.answer_json(_as_json(found))
        return
    for line in _table(found.certificates):
        terminal.answer(line)
    if found.crl_until is not None:
        state = "fresh until" if found.crl_until > now else "renew it with keygen --renew, it ended on"
        terminal.answer(f"revocation list: {state} {found.crl_until:%Y-%m-%d %H:%M} UTC")


def _table(certificates: Sequence[Certificate]) -> list[str]:
    """Columns as wide as their widest entry, the names last, since they may be many."""
    rows = [("ROLE", "STATE", "FROM", "UNTIL", "KEY", "SHA256", "WHO")]
    for one in certificates:
        start = "-" if one.starts_at is None else f"{one.starts_at:%Y-%m-%d}"
        key = "-" if one.role == "ca" else "own" if one.is_enrolled else "keygen"
        names = ", ".join(one.names)
        rows.append((one.role, one.state, start, f"{one.expires_at:%Y-%m-%d}", key, one.fingerprint[:16], names))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _as_json(found: Inventory) -> dict[str, Any]:
    rows = [
        {
            "role": one.role,
            "names": list(one.names),
            "state": one.state,
            "serial": f"{one.serial:x}",
            "sha256": one.fingerprint,
            "from": None if one.starts_at is None else one.starts_at.isoformat(),
            "until": one.expires_at.isoformat(),
            "revoked": None if one.revoked_at is None else one.revoked_at.isoformat(),
            "enrolled": one.is_enrolled,
        }
        for one in found.certificates
    ]
    until = None if found.crl_until is None else found.crl_until.isoformat()
    return {"schema": SCHEMA, "certificates": rows, "revocation_list_until": until}


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
