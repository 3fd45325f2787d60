"""The pairs of a certs folder, one by one, and the report of a run that changed some of them.

Who writes holds the folder's lock (``folder.locked``); what is written when is for ``issuing.py`` and ``revoking.py``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from securesplit.errors import CredentialError
from securesplit.pki import folder as files
from securesplit.pki import lists, parsing, profile
from securesplit.pki.profile import Identity


@dataclass(frozen=True)
class KeygenEntry:
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
    entries: tuple[KeygenEntry, ...]
    crl: Path
    crl_until: datetime | None
    allowed: Path
    notes: tuple[str, ...]


def trusted_in(folder: Path) -> list[x509.Certificate]:
    """The CAs of ``ca.crt``.

    Raises:
        CredentialError: it is missing, or cannot be read.
    """
    path = folder / files.CA_CERTIFICATE
    return parsing.certificates(files.read(path), what="the CA's certificate", where=str(path))


def authority_of(folder: Path) -> Identity:
    """The CA that signs: the first of ca.crt whose key ca.key is.

    Raises:
        CredentialError: its key is not here, or belongs to none of them.
    """
    if not files.is_there(folder / files.CA_KEY):
        raise CredentialError(
            f"{folder / files.CA_KEY} is not here, and nothing can be issued without it",
            hint="run this where the CA was made",
        )
    if not files.is_there(folder / files.CA_CERTIFICATE):
        raise lacks_certificate(folder)
    data = files.read(folder / files.CA_KEY, secret=True)
    key = parsing.private_key(data, what="the CA's private key", where=str(folder / files.CA_KEY))
    for certificate in trusted_in(folder):
        if certificate.public_key() == key.public_key():
            return Identity(certificate, key)
    raise CredentialError("ca.key belongs to none of the certificates in ca.crt", hint="restore the pair from a backup")


def lacks_certificate(folder: Path) -> CredentialError:
    """Of a CA whose key is there: another one in its place would be trusted by nobody."""
    return CredentialError(
        f"{folder / files.CA_CERTIFICATE} is missing, and {files.CA_KEY} is there",
        hint=f"copy it back from a worker, a device or a backup; remove {files.CA_KEY} only if it has issued nothing",
    )


def issuer_of(folder: Path, now: datetime) -> Identity:
    """The CA that issues: `authority_of`, which has begun.

    Where it has not, the clock is wrong, or was when the CA was made. What it issues now ends, or begins, when it
    should not, and nobody would notice before.

    Raises:
        CredentialError: as `authority_of`, or it begins later than `now`.
    """
    authority = authority_of(folder)
    begins = authority.certificate.not_valid_before_utc
    if now < begins:
        message = f"the CA begins on {begins:%Y-%m-%d}, and this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
        raise CredentialError(message, hint="set the clock: certificates begin and end by it")
    return authority


def certificate_of(folder: Path, stem: str) -> x509.Certificate:
    """The certificate ``STEM.crt``.

    Raises:
        CredentialError: it is missing, or no certificate.
    """
    path = folder / f"{stem}.crt"
    return parsing.certificates(files.read(path), what="a certificate", where=str(path))[0]


@contextlib.contextmanager
def written_pair(folder: Path, stem: str, identity: Identity, *, fresh: bool) -> Iterator[None]:
    """Write key and certificate at the end of the with statement, the key first; a fresh pair overwrites nothing.

    Raises:
        CredentialError: they cannot be written, or a fresh one is there already; nothing was changed.
    """
    pair = {folder / f"{stem}.key": identity.key_pem, folder / f"{stem}.crt": identity.certificate_pem}
    for path in pair:
        if fresh and os.path.lexists(path):
            raise files.taken(path)
    with files.staged(pair):
        yield


def entry_of(folder: Path, stem: str, title: str, action: str) -> KeygenEntry:
    """The report's line on the pair ``STEM``."""
    leaf = certificate_of(folder, stem)
    paths = folder / f"{stem}.crt", folder / f"{stem}.key"
    return KeygenEntry(title, action, *paths, profile.fingerprint(leaf), leaf.not_valid_after_utc)


def report_of(folder: Path, entries: Sequence[KeygenEntry], notes: tuple[str, ...]) -> KeygenReport:
    """The report of a run that ended as the folder is now."""
    until = lists.fresh_until(folder)
    return KeygenReport(folder, tuple(entries), folder / files.CRL, until, folder / files.ALLOWED, notes)
