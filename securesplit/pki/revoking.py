"""Take certificates back: onto the revocation list, off the allow-list, and their files away.

Invariants:

- Everything that was ever issued under a name is revoked, renewed certificates too, since an old key may be what was
  stolen. A server's pair that stands in the folder is revoked even if it was issued before ``issued.txt`` knew servers.
- The list is signed before anything is removed: a run that is cut short can be repeated.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from securesplit.errors import ConfigError, CredentialError
from securesplit.pki import folder as files
from securesplit.pki import lists, naming, profile
from securesplit.pki.issuing import DEFAULT_DAYS
from securesplit.pki.lists import Issued
from securesplit.pki.pairs import KeygenEntry, KeygenReport, authority_of, certificate_of, report_of

_CLIENT, _SERVER = "client:", lists.SERVER_PREFIX


def revoke(folder: Path, name: str, *, now: datetime, days: int | None = None) -> KeygenReport:
    """Revoke every certificate of a client, or of the server that has this DNS name or address.

    Args:
        folder: the certs folder; it needs the CA's key.
        name: of the client or the server; with ``client:`` or ``server:`` before it where it could be either.
        now: an aware datetime.
        days: exactly so long, and 7 more, is the new revocation list good; None: 90, or as long as the one before it,
            which outlives the certificates that were issued with that.

    Raises:
        CredentialError: no certificate of this name was issued here, or the CA's key is not there.
        ConfigError: the name can be of nobody or is both a client's and a server's, or the number of days is out of
            range.
    """
    lasts = profile.check_days(DEFAULT_DAYS if days is None else days)
    bare = name.removeprefix(_CLIENT).removeprefix(_SERVER)
    server_name = _checked(name, bare)
    with files.locked(folder):
        authority = authority_of(folder)
        of_client = [] if name.startswith(_SERVER) else lists.issued_to(folder, bare)
        of_server = [] if name.startswith(_CLIENT) else _of_server(folder, server_name)
        if of_client and of_server:
            hint = f"say --revoke {_CLIENT}{bare} or --revoke {_SERVER}{bare}"
            raise ConfigError(f"{bare!r} is the name of a client and of a server", hint=hint)
        issued = of_client or of_server
        if not issued:
            raise CredentialError(f"no certificate was issued to {name!r} here", hint="check --revoke and --out")
        serials, is_exact = [one.serial for one in issued], days is not None
        lists.sign_crl(folder, authority, serials, days=lasts, now=now, may_shorten=is_exact)
        return _take_client(folder, bare, issued, now) if of_client else _take_server(folder, bare, issued, now)


def _checked(name: str, bare: str) -> str:
    """The name as a server's certificate has it, or as it is where only a client can have it.

    Raises:
        ConfigError: it can be the name of neither.
    """
    try:
        return str(naming.check_server_name(bare).value)
    except ConfigError:
        if name.startswith(_SERVER):
            raise
        return naming.check_client_name(bare)


def _of_server(folder: Path, name: str) -> list[Issued]:
    issued = lists.issued_to_server(folder, name)
    if files.is_there(folder / f"{files.SERVER}.crt"):
        here = certificate_of(folder, files.SERVER)
        known = {one.serial for one in issued}
        names = naming.server_names_of(here)
        if name in names and here.serial_number not in known:
            issued.append(Issued.of(here, lists.server_owner(names)))
    return issued


def _take_client(folder: Path, name: str, issued: list[Issued], now: datetime) -> KeygenReport:
    lists.disallow(folder, name)
    paths = _remove(folder, f"{files.CLIENTS}/{name}")
    note = "copy crl.pem and allowed-clients.txt to the worker, which notices within a second"
    return report_of(folder, _entries(f"client {name}", paths, issued, now), (note,))


def _take_server(folder: Path, name: str, issued: list[Issued], now: datetime) -> KeygenReport:
    paths = folder / f"{files.SERVER}.crt", folder / f"{files.SERVER}.key"
    if files.is_there(paths[0]) and certificate_of(folder, files.SERVER).serial_number in {
        one.serial for one in issued
    }:
        _remove(folder, files.SERVER)
    another = f"securesplit keygen --server-name {name} issues a new one"
    if any(one.request is not None for one in issued):
        enroll, sign = f"securesplit enroll --server-name {name}", "securesplit keygen --sign REQUEST --new-key"
        another = f"for the machine that takes its place: {enroll} there, then here {sign}"
    notes = "copy crl.pem to every device: until it has the new list, a device trusts the revoked certificate", another
    return report_of(folder, _entries(f"server {name}", paths, issued, now), notes)


def _remove(folder: Path, stem: str) -> tuple[Path, Path]:
    paths = folder / f"{stem}.crt", folder / f"{stem}.key"
    for path in reversed(paths):
        path.unlink(missing_ok=True)
    return paths


def _entries(title: str, paths: tuple[Path, Path], issued: list[Issued], now: datetime) -> list[KeygenEntry]:
    return [
        KeygenEntry(title, "revoked", *paths, one.fingerprint, one.expires_at) for one in issued if one.expires_at > now
    ]
