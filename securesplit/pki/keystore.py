"""The certs folder, loaded and checked; and everything else that callers need of it.

::

    ca.crt ca.key crl.pem allowed-clients.txt issued.txt server.crt server.key clients/NAME.crt clients/NAME.key

A worker needs ``ca.crt crl.pem allowed-clients.txt server.crt server.key``, a device ``ca.crt crl.pem clients/NAME.crt
clients/NAME.key``. ``ca.crt`` and ``crl.pem`` may hold several CAs and their lists, while one is being replaced.
Loading never writes. ``now`` is an aware datetime and always an argument. ``issuing.py`` makes the files,
``signing.py`` and ``enrolling.py`` make them without moving a key, ``revoking.py`` takes them back.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from securesplit.errors import CredentialError
from securesplit.pki import folder as files
from securesplit.pki import lists, naming, profile
from securesplit.pki.credentials import Credentials, Sources, check
from securesplit.pki.issuing import DEFAULT_CLIENT, DEFAULT_DAYS, DEFAULT_SERVER_NAMES, create, renew
from securesplit.pki.pairs import KeygenEntry, KeygenReport
from securesplit.pki.profile import Identity
from securesplit.pki.revoking import revoke
from securesplit.text import in_shell

__all__ = [
    "DEFAULT_CLIENT",
    "DEFAULT_DAYS",
    "DEFAULT_SERVER_NAMES",
    "Credentials",
    "KeygenEntry",
    "KeygenReport",
    "client_files",
    "create",
    "ephemeral",
    "load_client",
    "load_server",
    "renew",
    "revoke",
    "server_files",
]

_SLACK = timedelta(days=400)


def load_server(folder: Path, *, now: datetime) -> Credentials:
    """Load and check the server's side of a folder.

    Raises:
        CredentialError: a file is missing or exposed, the key does not fit, or something has expired.
    """
    names = dict(lists.allowed(folder))
    loaded = _load(folder, files.SERVER, "server", frozenset(names), now)
    known = {fingerprint: name for fingerprint, name in names.items() if naming.is_client_name(name)}
    return replace(loaded, client_names=known)


def load_client(folder: Path, name: str = DEFAULT_CLIENT, *, now: datetime) -> Credentials:
    """Load and check one client's side of a folder.

    Raises:
        CredentialError: a file is missing or exposed, the key does not fit, or something has expired.
        ConfigError: the name cannot be one of a client.
    """
    if not files.is_there(folder / files.CLIENTS / f"{naming.check_client_name(name)}.crt"):
        raise _no_client(folder, name)
    return _load(folder, f"{files.CLIENTS}/{naming.check_client_name(name)}", "client", frozenset(), now)


def server_files(folder: Path) -> list[Path]:
    """The files that ``load_server`` reads."""
    return [*_files(folder, files.SERVER), folder / files.ALLOWED]


def client_files(folder: Path, name: str = DEFAULT_CLIENT) -> list[Path]:
    """The files that ``load_client`` reads."""
    return _files(folder, f"{files.CLIENTS}/{name}")


def ephemeral(now: datetime) -> tuple[Credentials, Credentials]:
    """Credentials of a server on the loopback interface and of its one client, with a CA that is forgotten at once.

    They end with the program that holds them, in memory alone. Their dates reach a year back and ahead, so that neither
    a program that runs for months nor a clock that is set meets them.
    """
    since, days = now - _SLACK, 2 * _SLACK.days
    ca = profile.new_ca(now=since)
    server = profile.new_server(ca, DEFAULT_SERVER_NAMES, days=days, now=since)
    client = profile.new_client(ca, DEFAULT_CLIENT, days=days, now=since)
    crl = profile.new_crl(ca, (), number=1, days=days, now=since)
    allowed = frozenset([profile.fingerprint(client.certificate)])
    return (
        _credentials(server, ca, crl, allowed, "server", now),
        _credentials(client, ca, crl, frozenset(), "client", now),
    )


def _files(folder: Path, stem: str) -> list[Path]:
    names = f"{stem}.crt", f"{stem}.key", files.CA_CERTIFICATE, files.CRL
    return [folder / name for name in names]


def _no_client(folder: Path, name: str) -> CredentialError:
    """Say what lies in the folder instead of the client's certificate, and what to do about it."""
    if files.is_there(folder / files.CLIENTS / f"{name}.key"):
        hint = "securesplit enroll --install ANSWER puts it in place; securesplit enroll makes the request once more"
        return CredentialError(f"{folder} has a key of client {name}, and no certificate for it yet", hint=hint)
    others = sorted(path.stem for path in (folder / files.CLIENTS).glob("*.crt"))
    if others:
        hint = f"it has files of {', '.join(others[:5])}: give --client {others[0]}"
        return CredentialError(f"{folder} has no certificate of client {name}", hint=hint)
    if files.is_there(folder / files.CA_KEY):
        hint = f"securesplit keygen --out {in_shell(folder)} --client {name}"
        return CredentialError(f"{folder} has no certificate of client {name}", hint=hint)
    found = f"{folder} has no certificate of a client" if folder.is_dir() else f"there is no folder {folder}"
    make = "make keys with securesplit keygen, or with securesplit enroll where the worker is another machine's"
    hint = f"{make}; name their folder with --certs; or try --embedded, which needs none"
    return CredentialError(found, hint=hint)


def _load(folder: Path, stem: str, side: str, allowed: frozenset[str], now: datetime) -> Credentials:
    certificate, private_key, ca, crl = paths = _files(folder, stem)
    return check(
        certificate=files.read(certificate),
        private_key=files.read(private_key, secret=True),
        ca=files.read(ca),
        crl=files.read(crl),
        allowed_clients=allowed,
        side=side,
        now=now,
        sources=Sources(*map(str, paths)),
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
