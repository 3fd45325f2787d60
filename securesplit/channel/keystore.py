"""The certs folder: made, renewed, revoked from, and loaded.

::

    ca.crt ca.key crl.pem allowed-clients.txt issued.txt server.crt server.key clients/NAME.crt clients/NAME.key

Invariants:

- ``create`` writes only what is missing. ``renew`` and ``revoke`` replace files in one step each, the key before its
  certificate; a reader that falls between the two sees a pair that does not fit, refuses it, and reads again.
- Every run that signs anything signs the revocation list anew, so that the list never ends before the leaves.
- ``allowed-clients.txt`` has one line ``FINGERPRINT NAME`` a certificate. After ``renew`` the certificate before
  stays on it, so that a device works until its new files reach it; the one before that is dropped.
- ``issued.txt`` has one line ``FINGERPRINT SERIAL EXPIRY NAME`` a client certificate ever issued; ``revoke`` puts all
  of them that have not expired on the list. It is for the CA's folder only and need not be copied anywhere.

``now`` is an aware datetime and always an argument. The CA key is needed to sign and may be kept elsewhere otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509

from securesplit.channel import folder as files
from securesplit.channel import pki
from securesplit.channel.credentials import Credentials, check
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
    """

    folder: Path
    entries: tuple[Entry, ...] = field(default=())
    crl: Path = Path()
    crl_until: datetime | None = None
    allowed: Path = Path()


def load_server(folder: Path, *, now: datetime) -> Credentials:
    """Load and check the server's side of a folder.

    Raises:
        CredentialError: a file is missing or exposed, the key does not fit, or something has expired.
    """
    return _load(folder, files.SERVER, "server", frozenset(line[0] for line in _allowed(folder)), now)


def load_client(folder: Path, name: str = DEFAULT_CLIENT, *, now: datetime) -> Credentials:
    """Load and check one client's side of a folder.

    Raises:
        CredentialError: a file is missing or exposed, the key does not fit, or something has expired.
        ConfigError: the name cannot be one of a client.
    """
    return _load(folder, f"{files.CLIENTS}/{pki.check_client_name(name)}", "client", frozenset(), now)


def ephemeral(now: datetime) -> tuple[Credentials, Credentials]:
    """Credentials of a server on the loopback interface and of its one client, with a CA that is forgotten at once."""
    ca = pki.new_ca(now=now)
    server = pki.new_server(ca, DEFAULT_SERVER_NAMES, days=1, now=now)
    client = pki.new_client(ca, DEFAULT_CLIENT, days=1, now=now)
    crl = pki.new_crl(ca, (), number=1, days=1, now=now)
    allowed = frozenset([pki.fingerprint(client.certificate)])
    return (
        _credentials(server, ca, crl, allowed, "server", now),
        _credentials(client, ca, crl, frozenset(), "client", now),
    )


def create(
    folder: Path, *, server_names: Sequence[str], clients: Sequence[str], days: int, now: datetime
) -> KeygenReport:
    """Make what is missing: the CA, the server's certificate, those of the clients, the lists. Overwrites nothing.

    Raises:
        CredentialError: the CA's key is needed and not there, or a file cannot be written.
        ConfigError: a name or the number of days is out of range; nothing was written.
    """
    _check_arguments(server_names, clients, days)
    files.make(folder)
    files.make(folder / files.CLIENTS)
    if not (folder / files.CA_CERTIFICATE).exists():
        authority = pki.new_ca(now=now)
        _write(folder, "ca", authority, fresh=True)
        entries = [_entry(folder, "ca", "CA", "created", authority.certificate)]
    else:
        entries = [_entry(folder, "ca", "CA", "kept")]
    if (folder / "server.crt").exists():
        entries.append(_entry(folder, files.SERVER, "server", "kept"))
    else:
        server = pki.new_server(_ca(folder), server_names, days=days, now=now)
        _write(folder, files.SERVER, server, fresh=True)
        entries.append(_entry(folder, files.SERVER, "server", "created", server.certificate))
    for name in dict.fromkeys(clients):
        entries.append(_create_client(folder, name, days, now))
    if any(entry.action == "created" for entry in entries):
        _sign_crl(folder, (), days=days, now=now)
    return _report(folder, entries)


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
    names = list(dict.fromkeys(clients)) or sorted(path.stem for path in (folder / files.CLIENTS).glob("*.crt"))
    for name in names:
        _certificate(folder, f"{files.CLIENTS}/{name}")
    entries = [_entry(folder, "ca", "CA", "kept")]
    if not clients:
        old = pki.server_names_of(_certificate(folder, files.SERVER))
        server = pki.new_server(authority, server_names or old, days=days, now=now)
        _write(folder, files.SERVER, server, fresh=False)
        entries.append(_entry(folder, files.SERVER, "server", "renewed", server.certificate))
    for name in names:
        client = pki.new_client(authority, name, days=days, now=now)
        _note_issued(folder, client.certificate, name)
        _write(folder, f"{files.CLIENTS}/{name}", client, fresh=False)
        _allow(folder, client.certificate, name)
        entries.append(_entry(folder, f"{files.CLIENTS}/{name}", f"client {name}", "renewed", client.certificate))
    _sign_crl(folder, (), days=days, now=now)
    return _report(folder, entries)


def revoke(folder: Path, name: str, *, now: datetime, days: int = DEFAULT_DAYS) -> KeygenReport:
    """Revoke every certificate of a client: onto the list, off the allow-list; its files are removed.

    Raises:
        CredentialError: no certificate of this name was issued here, or the CA's key is not there.
        ConfigError: the name cannot be one of a client.
    """
    pki.check_client_name(name)
    _ca(folder)
    issued = [line for line in _lines(folder / files.ISSUED) if line[3] == name]
    if not issued:
        raise CredentialError(f"no certificate was issued to the client {name!r} here", hint="check --revoke and --out")
    entries = [
        Entry(
            f"client {name}",
            "revoked",
            folder / files.CLIENTS / f"{name}.crt",
            folder / files.CLIENTS / f"{name}.key",
            fingerprint,
            datetime.fromisoformat(expiry),
        )
        for fingerprint, _serial, expiry, _name in issued
        if datetime.fromisoformat(expiry) > now
    ]
    _sign_crl(folder, [int(line[1], 16) for line in issued], days=days, now=now)
    _write_lines(folder / files.ALLOWED, [line for line in _allowed(folder) if line[1] != name])
    for suffix in ("key", "crt"):
        (folder / files.CLIENTS / f"{name}.{suffix}").unlink(missing_ok=True)
    return _report(folder, entries)


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
    client = pki.new_client(_ca(folder), name, days=days, now=now)
    _note_issued(folder, client.certificate, name)
    _write(folder, stem, client, fresh=True)
    _allow(folder, client.certificate, name)
    return _entry(folder, stem, f"client {name}", "created", client.certificate)


def _load(folder: Path, stem: str, side: str, allowed: frozenset[str], now: datetime) -> Credentials:
    return check(
        certificate=files.read(folder / f"{stem}.crt"),
        private_key=files.read(folder / f"{stem}.key", secret=True),
        ca=files.read(folder / files.CA_CERTIFICATE),
        crl=files.read(folder / files.CRL),
        allowed_clients=allowed,
        side=side,
        now=now,
    )


def _credentials(
    identity: Identity, ca: Identity, crl: bytes, allowed: frozenset[str], side: str, now: datetime
) -> Credentials:
    return check(
        certificate=identity.certificate_pem,
        private_key=identity.key_pem,
        ca=ca.certificate_pem,
        crl=crl,
        allowed_clients=allowed,
        side=side,
        now=now,
    )


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


def _entry(folder: Path, stem: str, title: str, action: str, certificate: x509.Certificate | None = None) -> Entry:
    certificate = certificate or _certificate(folder, stem)
    return Entry(
        title,
        action,
        folder / f"{stem}.crt",
        folder / f"{stem}.key",
        pki.fingerprint(certificate),
        certificate.not_valid_after_utc,
    )


def _report(folder: Path, entries: Sequence[Entry]) -> KeygenReport:
    lists = pki.load_crls(files.read(folder / files.CRL))
    until = min((crl.next_update_utc for crl in lists if crl.next_update_utc), default=None)
    return KeygenReport(folder, tuple(entries), folder / files.CRL, until, folder / files.ALLOWED)


def _sign_crl(folder: Path, serials: Iterable[int], *, days: int, now: datetime) -> None:
    """Sign the list again, with further serial numbers; lists of other CAs in the file stay."""
    authority = _ca(folder)
    path = folder / files.CRL
    lists = pki.load_crls(files.read(path)) if path.exists() else []
    others = [crl for crl in lists if crl.issuer != authority.certificate.subject]
    own = [crl for crl in lists if crl.issuer == authority.certificate.subject]
    known = {entry.serial_number: entry for crl in own for entry in crl}
    for serial in serials:
        known.setdefault(serial, pki.revocation(serial, now=now))
    number = 1 + max(
        (crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in own), default=0
    )
    signed = pki.new_crl(authority, known.values(), number=number, days=days, now=now)
    files.replace(path, signed + b"".join(pki.crl_pem(crl) for crl in others))


def _allow(folder: Path, certificate: x509.Certificate, name: str) -> None:
    """Put a certificate on the allow-list and keep the one before it, not more."""
    lines = _allowed(folder)
    before = [line for line in lines if line[1] == name][-1:]
    others = [line for line in lines if line[1] != name]
    _write_lines(folder / files.ALLOWED, [*others, *before, [pki.fingerprint(certificate), name]])


def _note_issued(folder: Path, certificate: x509.Certificate, name: str) -> None:
    expiry = certificate.not_valid_after_utc.isoformat()
    line = [pki.fingerprint(certificate), f"{certificate.serial_number:x}", expiry, name]
    _write_lines(folder / files.ISSUED, [*_lines(folder / files.ISSUED), line])


def _allowed(folder: Path) -> list[list[str]]:
    path = folder / files.ALLOWED
    lines = _lines(path)
    for line in lines:
        if len(line) != 2 or len(line[0]) != 64 or not set(line[0]) <= set("0123456789abcdef"):
            raise CredentialError(f"{path} has a line that is not FINGERPRINT NAME", hint="mend or remove the line")
    return lines


def _lines(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    text = files.read(path).decode("utf-8", "replace")
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _write_lines(path: Path, lines: Iterable[Sequence[str]]) -> None:
    files.replace(path, "".join(" ".join(line) + "\n" for line in lines).encode())
