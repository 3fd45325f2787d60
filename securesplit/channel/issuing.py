"""``keygen``'s work on the certs folder: make what is missing, issue anew, take back.

Invariants:

- ``create`` writes only what is missing. ``renew`` and ``revoke`` replace files in one step each, the key before its
  certificate; a reader that falls between the two sees a pair that does not fit, refuses it, and reads again.
- Every run that signs anything signs the revocation list anew, so that the list never ends before the leaves.
- Arguments are checked before the first byte is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from securesplit.channel import folder as files
from securesplit.channel import lists, pki
from securesplit.channel.pki import Identity
from securesplit.errors import CredentialError

DEFAULT_CLIENT = "device"
DEFAULT_SERVER_NAMES = ("localhost", "127.0.0.1", "::1")
DEFAULT_DAYS = 90


@dataclass(frozen=True)
class Entry:
    """One certificate of a report.

    Attributes:
        title: whose it is: "CA", "server" or "client NAME".
        action: "created", "renewed", "kept" or "revoked".
        certificate: path of the certificate.
        key: path of its key.
        fingerprint: SHA-256, hex.
        expires_at: when it ends.
    """

    title: str
    action: str
    certificate: Path
    key: Path
    fingerprint: str
    expires_at: datetime


@dataclass(frozen=True)
class KeygenReport:
    """What a run did.

    Attributes:
        folder: the certs folder.
        entries: the certificates, the CA first.
        crl: path of the revocation list.
        crl_until: when the list must have been replaced.
        allowed: path of the allow-list.
        notes: what the person at the terminal should know, in sentences.
    """

    folder: Path
    entries: tuple[Entry, ...]
    crl: Path
    crl_until: datetime | None
    allowed: Path
    notes: tuple[str, ...]


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
    is_new = not (folder / files.CA_CERTIFICATE).exists()
    files.make(folder)
    files.make(folder / files.CLIENTS)
    if is_new:
        _write(folder, "ca", pki.new_ca(now=now), fresh=True)
    entries = [_entry(folder, "ca", "CA", "created" if is_new else "kept")]
    if (folder / "server.crt").exists():
        entries.append(_entry(folder, files.SERVER, "server", "kept"))
    else:
        server = pki.new_server(_ca(folder), server_names or DEFAULT_SERVER_NAMES, days=days, now=now)
        _write(folder, files.SERVER, server, fresh=True)
        entries.append(_entry(folder, files.SERVER, "server", "created"))
    names = clients or ([DEFAULT_CLIENT] if is_new else _client_names(folder))
    entries.extend(_create_client(folder, name, days, now) for name in dict.fromkeys(names))
    if any(entry.action == "created" for entry in entries) or not (folder / files.CRL).exists():
        lists.sign_crl(folder, _ca(folder), days=days, now=now)
    return _report(folder, entries, _notes(folder, entries, server_names))


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
    authority = _ca(folder)
    names = list(dict.fromkeys(clients)) or _client_names(folder)
    for name in names:
        _certificate(folder, f"{files.CLIENTS}/{name}")
    entries = [_entry(folder, "ca", "CA", "kept")]
    if not clients:
        old = pki.server_names_of(_certificate(folder, files.SERVER))
        server = pki.new_server(authority, server_names or old, days=days, now=now)
        _write(folder, files.SERVER, server, fresh=False)
        entries.append(_entry(folder, files.SERVER, "server", "renewed"))
    for name in names:
        _issue_client(folder, authority, name, fresh=False, days=days, now=now)
        entries.append(_entry(folder, f"{files.CLIENTS}/{name}", f"client {name}", "renewed"))
    lists.sign_crl(folder, authority, days=days, now=now)
    note = "copy the new files to the worker and the devices; the clients' last certificates stay allowed till then"
    return _report(folder, entries, (note,))


def revoke(folder: Path, name: str, *, now: datetime, days: int = DEFAULT_DAYS) -> KeygenReport:
    """Revoke every certificate of a client: onto the list, off the allow-list; its files are removed.

    Args:
        folder: the certs folder; it needs the CA's key.
        name: of the client.
        now: an aware datetime.
        days: how long the new revocation list is good.

    Raises:
        CredentialError: no certificate of this name was issued here, or the CA's key is not there.
        ConfigError: the name cannot be one of a client, or the number of days is out of range.
    """
    _check_arguments((), [name], days)
    authority = _ca(folder)
    issued = lists.issued_to(folder, name)
    if not issued:
        raise CredentialError(f"no certificate was issued to the client {name!r} here", hint="check --revoke and --out")
    lists.sign_crl(folder, authority, [serial for _, serial, _ in issued], days=days, now=now)
    lists.disallow(folder, name)
    paths = folder / files.CLIENTS / f"{name}.crt", folder / files.CLIENTS / f"{name}.key"
    for path in reversed(paths):
        path.unlink(missing_ok=True)
    entries = [Entry(f"client {name}", "revoked", *paths, shown, until) for shown, _, until in issued if until > now]
    return _report(folder, entries, ("copy crl.pem and allowed-clients.txt to the worker and reload it (SIGHUP)",))


def _check_arguments(server_names: Iterable[str], clients: Iterable[str], days: int) -> None:
    pki.check_days(days)
    for name in server_names:
        pki.check_server_name(name)
    for name in clients:
        pki.check_client_name(name)


def _create_client(folder: Path, name: str, days: int, now: datetime) -> Entry:
    stem = f"{files.CLIENTS}/{name}"
    if (folder / f"{stem}.crt").exists():
        return _entry(folder, stem, f"client {name}", "kept")
    _issue_client(folder, _ca(folder), name, fresh=True, days=days, now=now)
    return _entry(folder, stem, f"client {name}", "created")


def _issue_client(folder: Path, authority: Identity, name: str, *, fresh: bool, days: int, now: datetime) -> None:
    client = pki.new_client(authority, name, days=days, now=now)
    lists.note_issued(folder, client.certificate, name)
    _write(folder, f"{files.CLIENTS}/{name}", client, fresh=fresh)
    lists.allow(folder, client.certificate, name)


def _client_names(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / files.CLIENTS).glob("*.crt"))


def _notes(folder: Path, entries: Sequence[Entry], server_names: Iterable[str]) -> tuple[str, ...]:
    kept = [entry.title for entry in entries if entry.action == "kept"]
    if not kept:
        return (
            f"the worker needs ca.crt, crl.pem, {files.ALLOWED}, server.*; a device ca.crt, crl.pem, clients/NAME.*",
            "ca.key signs everything: keep it away from both",
        )
    notes = [f"kept as before, nothing was overwritten: {', '.join(kept)}"]
    held = pki.server_names_of(_certificate(folder, files.SERVER))
    wanted = [name for name in server_names if name.lower().strip("[]") not in held]
    if wanted:
        notes.append(f"the server's certificate is not for {', '.join(wanted)}; --renew --server-name issues a new one")
    return tuple(notes)


def _ca(folder: Path) -> Identity:
    """The CA that signs: the first of ca.crt whose key ca.key is."""
    if not (folder / files.CA_KEY).exists():
        raise CredentialError(
            f"{folder / files.CA_KEY} is not here, and nothing can be issued without it",
            hint="run this where the CA was made",
        )
    key = pki.load_key(files.read(folder / files.CA_KEY, secret=True))
    for certificate in x509.load_pem_x509_certificates(files.read(folder / files.CA_CERTIFICATE)):
        if certificate.public_key() == key.public_key():
            return Identity(certificate, key)
    raise CredentialError("ca.key belongs to none of the certificates in ca.crt", hint="restore the pair from a backup")


def _certificate(folder: Path, stem: str) -> x509.Certificate:
    path = folder / f"{stem}.crt"
    try:
        return x509.load_pem_x509_certificates(files.read(path))[0]
    except ValueError as error:
        raise CredentialError(
            f"{path} is not a certificate", hint="restore it, or move it away and run keygen"
        ) from error


def _write(folder: Path, stem: str, identity: Identity, *, fresh: bool) -> None:
    put = files.create if fresh else files.replace
    put(folder / f"{stem}.key", identity.key_pem)
    put(folder / f"{stem}.crt", identity.certificate_pem)


def _entry(folder: Path, stem: str, title: str, action: str) -> Entry:
    leaf = _certificate(folder, stem)
    paths = folder / f"{stem}.crt", folder / f"{stem}.key"
    return Entry(title, action, *paths, pki.fingerprint(leaf), leaf.not_valid_after_utc)


def _report(folder: Path, entries: Sequence[Entry], notes: tuple[str, ...]) -> KeygenReport:
    until = lists.fresh_until(folder)
    return KeygenReport(folder, tuple(entries), folder / files.CRL, until, folder / files.ALLOWED, notes)
