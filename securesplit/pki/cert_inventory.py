"""Who has a certificate: everything that was issued, as the certs folder of the CA machine knows it.

In the folder of a worker or a device, which has no ``issued.txt``, it is what lies there. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509

from securesplit.errors import CredentialError
from securesplit.pki import folder as files
from securesplit.pki import lists, naming, profile
from securesplit.pki.credentials import CA_NOTICE, NOTICE, renew_from
from securesplit.pki.lists import Issued
from securesplit.pki.pairs import certificate_of, trusted_in

Role = Literal["ca", "server", "client"]
State = Literal["valid", "soon", "expired", "revoked", "replaced"]


@dataclass(frozen=True)
class Certificate:
    """One certificate of the list.

    Attributes:
        role: whose it is.
        names: a client's one name, a server's DNS names and addresses, a CA's common name.
        state: "soon" where it ends within 30 days (a CA: 120) and within the last third of its life, "replaced" where
            it is a client's and no longer on the allow-list; a certificate that is revoked or expired is called that.
        serial: its number.
        fingerprint: SHA-256, hex.
        starts_at: when it begins; None where that was not noted.
        expires_at: when it ends.
        revoked_at: when it was revoked; None where it is not.
        is_enrolled: whether its key was made elsewhere and never was here.
    """

    role: Role
    names: tuple[str, ...]
    state: State
    serial: int
    fingerprint: str
    starts_at: datetime | None
    expires_at: datetime
    revoked_at: datetime | None
    is_enrolled: bool


@dataclass(frozen=True)
class Inventory:
    """What a certs folder knows.

    Attributes:
        certificates: CAs first, then servers, then clients; each by name and age.
        crl_until: when the first revocation list must have been replaced; None where there is none.
    """

    certificates: tuple[Certificate, ...]
    crl_until: datetime | None


def take(folder: Path, *, now: datetime) -> Inventory:
    """Read a folder.

    Args:
        folder: the certs folder.
        now: an aware datetime.

    Raises:
        CredentialError: there is no CA in it, or something in it cannot be read.
    """
    if not files.is_there(folder / files.CA_CERTIFICATE):
        raise CredentialError(f"{folder} has no CA", hint="name the folder that keygen wrote with --out")
    revoked = lists.revoked(folder)
    allowed = {line[0] for line in lists.allowed(folder)} if files.is_there(folder / files.ALLOWED) else None
    rows = [_leaf(one, revoked, allowed, now) for one in _known(folder)]
    order = {"server": 0, "client": 1}
    rows.sort(key=lambda row: (order[row.role], row.names, row.expires_at))
    until = lists.fresh_until(folder) if files.is_there(folder / files.CRL) else None
    return Inventory((*_authorities(folder, now), *rows), until)


def _known(folder: Path) -> list[Issued]:
    """What was noted, and what lies in the folder without a note."""
    noted = {one.fingerprint: one for one in lists.issued(folder)}
    for certificate, owner in _lying(folder):
        noted.setdefault(profile.fingerprint(certificate), Issued.of(certificate, owner))
    return list(noted.values())


def _lying(folder: Path) -> Iterable[tuple[x509.Certificate, str]]:
    if files.is_there(folder / f"{files.SERVER}.crt"):
        server = certificate_of(folder, files.SERVER)
        yield server, lists.server_owner(naming.server_names_of(server))
    for path in sorted((folder / files.CLIENTS).glob("*.crt")):
        yield certificate_of(folder, f"{files.CLIENTS}/{path.stem}"), path.stem


def _authorities(folder: Path, now: datetime) -> Iterable[Certificate]:
    for one in trusted_in(folder):
        start, end = one.not_valid_before_utc, one.not_valid_after_utc
        state = _by_date(start, end, now, CA_NOTICE)
        name = one.subject.rfc4514_string().removeprefix("CN=")
        yield Certificate(
            "ca", (name,), state, one.serial_number, profile.fingerprint(one), start, end, None, is_enrolled=False
        )


def _leaf(one: Issued, revoked: Mapping[int, datetime], allowed: set[str] | None, now: datetime) -> Certificate:
    state = _by_date(one.starts_at, one.expires_at, now, NOTICE)
    if one.serial in revoked:
        state = "revoked"
    elif state != "expired" and not one.is_server and allowed is not None and one.fingerprint not in allowed:
        state = "replaced"
    names = tuple(one.server_names) or (one.owner,)
    role: Role = "server" if one.is_server else "client"
    dates = one.starts_at, one.expires_at, revoked.get(one.serial)
    return Certificate(role, names, state, one.serial, one.fingerprint, *dates, one.request is not None)


def _by_date(start: datetime | None, end: datetime, now: datetime, notice: timedelta) -> State:
    if end <= now:
        return "expired"
    soon = end - notice if start is None else renew_from(start, end, notice=notice)
    return "soon" if soon <= now else "valid"
