"""``securesplit enroll``: a device or worker gets its certificate, and its key never leaves it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from securesplit.cli import exchange, param_types, terminal
from securesplit.cli.options import certs_option
from securesplit.cli.settings import command, source_of
from securesplit.errors import ConfigError
from securesplit.text import in_shell

if TYPE_CHECKING:
    from securesplit.pki.enrolling import Asked, Installed


@command()
@certs_option
@click.option(
    "--client", type=param_types.CLIENT_NAME, default="device", show_default=True, help="Name of this device."
)
@exchange.server_name_option("This machine is a worker: its DNS name or address; may be repeated.")
@click.option(
    "--out",
    type=param_types.Location(dir_okay=False, allow_dash=True),
    metavar="REQUEST",
    help="Request to write; - for stdout.  [default: NAME.csr]",
)
@click.option("--renew", is_flag=True, help="There is a certificate already: ask for the next one, for the same key.")
@click.option(
    "--install",
    type=param_types.Location(allow_dash=True),
    metavar="ANSWER",
    help="Check the CA machine's answer and put it in place; - for stdin.",
)
@exchange.fingerprint_option("With --install: of the CA, as keygen shows it")
@click.pass_context
def enroll(
    ctx: click.Context,
    certs: Path,
    client: str,
    server_names: tuple[str, ...],
    out: Path | None,
    renew: bool,
    install: Path | None,
    fingerprint: str | None,
) -> None:
    """Get a certificate for a key that is made here and never leaves this machine.

    Three commands, of which the second runs on the CA machine. REQUEST and ANSWER hold nothing secret; each side shows
    a fingerprint, and the person who carries the files compares it with what the other machine shows.

    \b
    Examples:
      securesplit enroll --client clinic-1            writes clinic-1.csr
      securesplit keygen --sign clinic-1.csr          on the CA machine
      securesplit enroll --install clinic-1.answer.pem
      securesplit enroll --server-name tail.example.org
      securesplit enroll --renew --client clinic-1    then the same two commands
    """
    if install is not None:
        _refuse_flags(
            ctx, "--install goes with --certs and --fingerprint only", "client", "server_names", "out", "renew"
        )
        _install(certs, install, fingerprint)
        return
    _refuse_flags(ctx, "--fingerprint goes with --install", "fingerprint")
    if server_names and source_of(ctx, "client").kind == "flag":
        raise ConfigError("a machine is a device or a worker: --client or --server-name", hint="run enroll twice")
    _ask(certs, client, server_names, out, renew=renew)


def _refuse_flags(ctx: click.Context, message: str, *names: str) -> None:
    if any(source_of(ctx, name).kind == "flag" for name in names):
        raise ConfigError(message, hint="securesplit enroll --help shows the three commands")


def _ask(certs: Path, client: str, server_names: tuple[str, ...], out: Path | None, *, renew: bool) -> None:
    from securesplit.pki import enrolling, folder

    path = out or Path(f"{server_names[0].strip('[]').replace(':', '_') if server_names else client}.csr")
    if path != exchange.PIPE:
        folder.check_replaceable(path, enrolling.REQUEST_HEADER)
    asked = enrolling.ask(certs, client=client, server_names=server_names, renew=renew, now=datetime.now(UTC))
    if path == exchange.PIPE:
        terminal.write_answer(asked.request.decode("ascii"))
    else:
        folder.replace(path, asked.request)
    exchange.report(_asked(asked, path), aside=path == exchange.PIPE)


def _asked(asked: Asked, path: Path) -> list[str]:
    is_piped = path == exchange.PIPE
    lines = [
        f"{asked.title}: request made",
        f"  request      {'to standard output' if is_piped else path}",
        f"  key          {asked.key} ({'new' if asked.is_new_key else 'kept'}; it stays on this machine)",
        f"  fingerprint  {exchange.format_fingerprint(asked.fingerprint)}",
    ]
    if is_piped:
        return lines
    sign = f"securesplit keygen --sign {in_shell(path.name)}"
    return [
        *lines,
        f"note: next, on the CA machine: {sign}, which must show the same fingerprint",
        "note: then bring its answer here, for securesplit enroll --install",
    ]


def _install(certs: Path, path: Path, fingerprint: str | None) -> None:
    from securesplit.pki import enrolling, profile
    from securesplit.pki.enrolment_answer import MAX_ANSWER_BYTES, parse_answer

    answer = parse_answer(exchange.read_input(path, MAX_ANSWER_BYTES), where=exchange.display_name(path))
    ca = profile.fingerprint(answer.root)
    if enrolling.is_first_ca(certs, answer) or fingerprint is not None:
        exchange.confirm_fingerprint(ca, fingerprint, what="the CA of the answer", shown_by="the CA machine")
    installed = enrolling.install(certs, answer, accepted=ca, now=datetime.now(UTC))
    exchange.report(_installed(installed, answer.title, ca), aside=False)


def _installed(installed: Installed, title: str, ca: str) -> list[str]:
    trust = "trusted from now on" if installed.is_first_ca else "as before"
    lines = [
        f"{title}: certificate in place",
        f"  certificate  {installed.certificate}",
        f"  sha256       {installed.credentials.fingerprint}",
        f"  expires      {installed.credentials.expires_at:%Y-%m-%d %H:%M} UTC",
        f"  CA           {exchange.format_fingerprint(ca)} ({trust})",
    ]
    if title.startswith("server"):
        note = "the worker also needs allowed-clients.txt of the CA machine, which says which devices may connect"
    else:
        note = "the worker lets this device in as soon as it has allowed-clients.txt of the CA machine"
    return [*lines, f"note: {note}"]
