"""``keygen``'s work on the certs folder: make what is missing, and issue again. Taking back is in ``revoking.py``.

Invariants:

- ``create`` writes only what is missing. ``renew`` replaces files in one step each, the key before its certificate; a
  reader that falls between the two sees a pair that does not fit, refuses it, and reads again.
- Every run that signs anything signs the revocation list again, so that the list never ends before the leaves.
- Arguments are checked before the first byte is written.
- Of several runs at once on one folder each waits for the one before: they hold the folder's lock from their first look
  to their last byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from securesplit.errors import CredentialError
from securesplit.pki import folder as files
from securesplit.pki import lists, naming, profile
from securesplit.pki.pairs import (
    KeygenEntry,
    KeygenReport,
    certificate_of,
    entry_of,
    issuer_of,
    lacks_certificate,
    report_of,
    written_pair,
)
from securesplit.pki.profile import Identity
from securesplit.text import in_shell

DEFAULT_CLIENT = "device"
DEFAULT_SERVER_NAMES = ("localhost", "127.0.0.1", "::1")
DEFAULT_DAYS = 90


def create(
    folder: Path, *, server_names: Sequence[str] = (), clients: Sequence[str] = (), days: int, now: datetime
) -> KeygenReport:
    """Make what is missing: the CA, the server's certificate, those of the clients, the lists. Overwrites nothing.

    Args:
        folder: the certs folder.
        server_names: DNS names and addresses; localhost, 127.0.0.1 and ::1 where empty.
        clients: names; ``device`` where empty and the folder is new.
        days: lifetime of what is issued.
        now: an aware datetime.

    Raises:
        CredentialError: the CA's key is needed and not there, or a file cannot be written.
        ConfigError: a name or the number of days is out of range; nothing was written.
    """
    _check_arguments(server_names, clients, days)
    files.make(folder)
    files.make(folder / files.CLIENTS)
    with files.locked(folder):
        return _create(folder, server_names, clients, days, now)


def _create(
    folder: Path, server_names: Sequence[str], clients: Sequence[str], days: int, now: datetime
) -> KeygenReport:
    is_new = not files.is_there(folder / files.CA_CERTIFICATE)
    enrolled = enrolled_names(folder)
    _refuse_enrolled(clients, enrolled)
    names = list(dict.fromkeys(clients)) or ([DEFAULT_CLIENT] if is_new else _client_names(folder, enrolled))
    if is_new:
        create_ca(folder, now=now)
    entries = [entry_of(folder, "ca", "CA", "created" if is_new else "kept")]
    if files.is_there(folder / "server.crt"):
        entries.append(entry_of(folder, files.SERVER, "server", "kept"))
    elif server_names or not any(name.startswith(lists.SERVER_PREFIX) for name in enrolled):
        _issue_server(
            folder, issuer_of(folder, now), server_names or DEFAULT_SERVER_NAMES, fresh=True, days=days, now=now
        )
        entries.append(entry_of(folder, files.SERVER, "server", "created"))
    entries.extend(_create_client(folder, name, days, now) for name in names)
    if any(entry.action == "created" for entry in entries) or not files.is_there(folder / files.CRL):
        lists.sign_crl(folder, issuer_of(folder, now), days=days, now=now)
    return report_of(folder, entries, _notes(folder, entries, server_names))


def create_ca(folder: Path, *, now: datetime) -> None:
    """Make the CA of a folder that has none; the caller holds the folder's lock.

    Raises:
        CredentialError: its key is there, or it cannot be written.
    """
    if os.path.lexists(folder / files.CA_KEY):
        raise lacks_certificate(folder)
    with written_pair(folder, "ca", profile.new_ca(now=now), fresh=True):
        pass


def enrolled_names(folder: Path) -> list[str]:
    """Who has a key of its own: whose last certificate that is not revoked answers a request.

    Returns:
        a device's name, or ``server:NAME,NAME``.
    """
    revoked = lists.revoked(folder)
    last = {one.owner: one for one in lists.issued(folder) if one.serial not in revoked}
    return [name for name, one in last.items() if one.request is not None]


def _refuse_enrolled(names: Iterable[str], enrolled: Sequence[str]) -> None:
    for name in names:
        if name in enrolled:
            hint = "renew it there with securesplit enroll --renew, or give another name"
            raise CredentialError(f"client {name} is enrolled with a key of its own", hint=hint)


def renew(
    folder: Path, *, server_names: Sequence[str] = (), clients: Sequence[str] = (), days: int, now: datetime
) -> KeygenReport:
    """Issue the server's and all clients' certificates again, with new keys, in place of the old files.

    Args:
        folder: the certs folder; it needs the CA's key.
        server_names: new names of the server; the old ones where empty.
        clients: renew only these; all where empty.
        days: lifetime.
        now: an aware datetime.

    Raises:
        CredentialError: the CA's key or a client's certificate is not there, or a file cannot be written.
        ConfigError: a name or the number of days is out of range; nothing was written.
    """
    _check_arguments(server_names, clients, days)
    with files.locked(folder):
        return _renew(folder, server_names, clients, days, now)


def _renew(folder: Path, server_names: Sequence[str], clients: Sequence[str], days: int, now: datetime) -> KeygenReport:
    authority = issuer_of(folder, now)
    enrolled = enrolled_names(folder)
    _refuse_enrolled(clients, enrolled)
    names = list(dict.fromkeys(clients)) or _client_names(folder, enrolled)
    for name in names:
        _require(folder, f"{files.CLIENTS}/{name}", f"--client {in_shell(name)}")
    entries = [entry_of(folder, "ca", "CA", "kept")]
    has_server = files.is_there(folder / f"{files.SERVER}.crt") or not enrolled
    if has_server and not clients:
        _require(folder, files.SERVER, "--server-name NAME")
        old = naming.server_names_of(certificate_of(folder, files.SERVER))
        _issue_server(folder, authority, server_names or old, fresh=False, days=days, now=now)
        entries.append(entry_of(folder, files.SERVER, "server", "renewed"))
    for name in names:
        _issue_client(folder, authority, name, fresh=False, days=days, now=now)
        entries.append(entry_of(folder, f"{files.CLIENTS}/{name}", f"client {name}", "renewed"))
    lists.sign_crl(folder, authority, days=days, now=now)
    notes = ["copy the new files to the worker and the devices; the clients' last certificates stay allowed till then"]
    if enrolled:
        notes.append(f"renew with their own keys, by securesplit enroll --renew: {', '.join(enrolled)}")
    return report_of(folder, entries, tuple(notes))


def _require(folder: Path, stem: str, flag: str) -> None:
    """Raises CredentialError where there is no certificate to renew, which `flag` makes."""
    path = folder / f"{stem}.crt"
    if not files.is_there(path):
        hint = f"securesplit keygen --out {in_shell(folder)} {flag} makes another one"
        raise CredentialError(f"{path} is missing, so it cannot be renewed", hint=hint)


def _check_arguments(server_names: Iterable[str], clients: Iterable[str], days: int) -> None:
    profile.check_days(days)
    for name in server_names:
        naming.check_server_name(name)
    for name in clients:
        naming.check_client_name(name)


def _create_client(folder: Path, name: str, days: int, now: datetime) -> KeygenEntry:
    stem = f"{files.CLIENTS}/{name}"
    if files.is_there(folder / f"{stem}.crt"):
        return entry_of(folder, stem, f"client {name}", "kept")
    _issue_client(folder, issuer_of(folder, now), name, fresh=True, days=days, now=now)
    return entry_of(folder, stem, f"client {name}", "created")


def _issue_client(folder: Path, authority: Identity, name: str, *, fresh: bool, days: int, now: datetime) -> None:
    client = profile.new_client(authority, name, days=days, now=now)
    with written_pair(folder, f"{files.CLIENTS}/{name}", client, fresh=fresh):
        lists.note_issued(folder, client.certificate, name)
        lists.allow(folder, client.certificate, name)


def _issue_server(
    folder: Path, authority: Identity, names: Sequence[str], *, fresh: bool, days: int, now: datetime
) -> None:
    server = profile.new_server(authority, names, days=days, now=now)
    with written_pair(folder, files.SERVER, server, fresh=fresh):
        lists.note_server(folder, server.certificate)


def _client_names(folder: Path, enrolled: Sequence[str]) -> list[str]:
    """The clients whose keys were made here."""
    names = sorted(path.stem for path in (folder / files.CLIENTS).glob("*.crt"))
    return [name for name in names if name not in enrolled]


def _notes(folder: Path, entries: Sequence[KeygenEntry], server_names: Iterable[str]) -> tuple[str, ...]:
    kept = [entry.title for entry in entries if entry.action == "kept"]
    if not kept:
        return (
            f"the worker needs ca.crt, crl.pem, {files.ALLOWED}, server.*; a device ca.crt, crl.pem, clients/NAME.*",
            "ca.key signs everything: keep it away from both",
        )
    notes = [f"kept as before, nothing was overwritten: {', '.join(kept)}"]
    if not files.is_there(folder / f"{files.SERVER}.crt"):  # its worker is enrolled
        return tuple(notes)
    held = naming.server_names_of(certificate_of(folder, files.SERVER))
    wanted = [name for name in server_names if str(naming.check_server_name(name).value) not in held]
    if wanted:
        notes.append(f"the server's certificate is not for {', '.join(wanted)}; --renew --server-name issues a new one")
    return tuple(notes)
