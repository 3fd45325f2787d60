"""The lists of the certs folder: who is allowed, what was ever issued, what is revoked.

Invariants:

- ``allowed-clients.txt`` has one line ``FINGERPRINT NAME`` a certificate, in any usual spelling, and ``keygen`` keeps
  at most two certificates a name: after a renewal the certificate before stays, so that a device works until its new
  files reach it.
- ``issued.txt`` has one line ``FINGERPRINT SERIAL EXPIRY NAME START KEY REQUEST`` a certificate ever issued, so that
  all of them can be revoked and a key is known again; NAME of a server's is ``server:NAME,NAME``, which no client can
  be called; REQUEST is ``-`` where `keygen` made the key. Lines of earlier versions end with NAME. The file is for the
  CA's folder only and need not be copied anywhere.
- ``crl.pem`` is signed again as a whole, with a rising number; it never forgets an entry, nor another CA's list.

Each file is replaced in one step; who changes one holds the folder's lock (``folder.locked``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from securesplit.errors import CredentialError
from securesplit.pki import folder as files
from securesplit.pki import naming, parsing, profile
from securesplit.pki.profile import Identity
from securesplit.text import from_utf8

FINGERPRINT_DIGITS = 64
_SHA1_DIGITS = 40
_HEX = set("0123456789abcdef")
_PREFIX = re.compile(r"^(?:sha-?256)?[\s:]*(?:fingerprint)?\s*[=:]?\s*", re.IGNORECASE)
_SEPARATORS = re.compile(r"[:\s-]")
_LINE = "correct or remove the line"
SERVER_PREFIX = "server:"

_NONE = "-"
_WORDS_BEFORE, _WORDS = 4, 7  # of a line of issued.txt, before keys were noted and since


@dataclass(frozen=True)
class Issued:
    """A certificate that was issued here.

    Attributes:
        fingerprint: SHA-256, hex.
        serial: its number.
        expires_at: when it ends.
        owner: the client's name, or ``server:NAME,NAME``.
        starts_at: when it begins; None in a line of an earlier version, like the next two.
        key: fingerprint of its public key.
        request: digest of the request that it answers; None where `keygen` made the key.
    """

    fingerprint: str
    serial: int
    expires_at: datetime
    owner: str
    starts_at: datetime | None = None
    key: str | None = None
    request: str | None = None

    @property
    def server_names(self) -> list[str]:
        """The DNS names and addresses of a server; none for a client."""
        return self.owner.removeprefix(SERVER_PREFIX).split(",") if self.is_server else []

    @property
    def is_server(self) -> bool:
        """Whether it is a server's."""
        return self.owner.startswith(SERVER_PREFIX)

    @property
    def names(self) -> set[str]:
        """The names of either."""
        return set(self.server_names) or {self.owner}

    @classmethod
    def of(cls, certificate: x509.Certificate, owner: str, request: str | None = None) -> Self:
        """What is noted of a certificate."""
        key = certificate.public_key()
        return cls(
            profile.fingerprint(certificate),
            certificate.serial_number,
            certificate.not_valid_after_utc,
            owner,
            certificate.not_valid_before_utc,
            profile.key_fingerprint(key) if isinstance(key, ec.EllipticCurvePublicKey) else None,
            request,
        )


def allowed(folder: Path) -> list[list[str]]:
    """The lines [fingerprint, name] of the allow-list; none where there is no file.

    Raises:
        CredentialError: the file cannot be read, or has another line.
    """
    path = folder / files.ALLOWED
    return [_allowed(path, line) for line in _rows(path)]


def _allowed(path: Path, line: str) -> list[str]:
    """One line, its fingerprint as 64 digits in lowercase.

    It may be spelled as ``openssl x509 -fingerprint -sha256`` and certificate viewers do: with colons, spaces or dashes
    between bytes, capitals, and ``SHA256 Fingerprint=`` before it.
    """
    *words, name = line.split()
    if not words:
        raise CredentialError(f"{path} has a line that does not have 2 words: FINGERPRINT NAME", hint=_LINE)
    digits = fingerprint_digits(" ".join(words))
    if is_fingerprint(digits):
        return [digits, name]
    if len(digits) == _SHA1_DIGITS and set(digits) <= _HEX:
        hint = "openssl x509 -noout -fingerprint -sha256 -in NAME.crt prints the right one"
        raise CredentialError(f"{path} has a fingerprint of SHA-1, and SHA-256 is needed", hint=hint)
    why = (
        "is not FINGERPRINT NAME" if len(words) == 1 else "does not have 2 words, or no fingerprint of 64 digits first"
    )
    raise CredentialError(f"{path} has a line that {why}", hint=_LINE)


def fingerprint_digits(text: str) -> str:
    """A fingerprint without separators and what programs write before it, in lowercase; anything for other text."""
    return _SEPARATORS.sub("", _PREFIX.sub("", text)).lower()


def is_fingerprint(digits: str) -> bool:
    """Whether these are the 64 digits of a fingerprint of SHA-256."""
    return len(digits) == FINGERPRINT_DIGITS and set(digits) <= _HEX


def allow(folder: Path, certificate: x509.Certificate, name: str) -> None:
    """Put a certificate on the allow-list and keep the one before it, not more."""
    lines = allowed(folder)
    before = [line for line in lines if line[1] == name][-1:]
    others = [line for line in lines if line[1] != name]
    _write(folder / files.ALLOWED, [*others, *before, [profile.fingerprint(certificate), name]])


def disallow(folder: Path, name: str) -> None:
    """Take a client off the allow-list."""
    _write(folder / files.ALLOWED, [line for line in allowed(folder) if line[1] != name])


def note_issued(folder: Path, certificate: x509.Certificate, owner: str, request: str | None = None) -> None:
    """Remember a certificate before it is handed out."""
    path = folder / files.ISSUED
    one = Issued.of(certificate, owner, request)
    start = one.starts_at.isoformat() if one.starts_at else _NONE
    line = [one.fingerprint, f"{one.serial:x}", one.expires_at.isoformat(), owner]
    _write(path, [*_issued_lines(path), [*line, start, one.key or _NONE, request or _NONE]])


def note_server(folder: Path, certificate: x509.Certificate, request: str | None = None) -> None:
    """Remember a server's certificate before it is handed out."""
    note_issued(folder, certificate, server_owner(naming.server_names_of(certificate)), request)


def server_owner(names: Iterable[str]) -> str:
    """What stands for a server in ``issued.txt``."""
    return SERVER_PREFIX + ",".join(names)


def issued(folder: Path) -> list[Issued]:
    """Every certificate that was ever issued here, the oldest first; none where there is no file.

    Raises:
        CredentialError: the file cannot be read, or has another line.
    """
    path = folder / files.ISSUED
    try:
        return [_issued(*line) for line in _issued_lines(path)]
    except ValueError:
        raise CredentialError(f"{path} has a line with a broken number or date", hint=_LINE) from None


def issued_to(folder: Path, name: str) -> list[Issued]:
    """Every certificate that a client ever had."""
    return [one for one in issued(folder) if one.owner == name]


def issued_to_server(folder: Path, name: str) -> list[Issued]:
    """Every certificate that a server of this DNS name or address ever had."""
    return [one for one in issued(folder) if name in one.server_names]


def _issued_lines(path: Path) -> list[list[str]]:
    return _lines(path, _WORDS, _WORDS_BEFORE)


def _issued(fingerprint: str, serial: str, expiry: str, owner: str, *since: str) -> Issued:
    start, key, request = (None if word == _NONE else word for word in since or (_NONE,) * 3)
    until = datetime.fromisoformat(expiry)
    return Issued(
        fingerprint, int(serial, 16), until, owner, datetime.fromisoformat(start) if start else None, key, request
    )


def revoked(folder: Path) -> dict[int, datetime]:
    """When each serial number on the folder's lists was revoked; none where there is no list."""
    path = folder / files.CRL
    lists = revocations(path) if files.is_there(path) else []
    return {entry.serial_number: entry.revocation_date_utc for crl in lists for entry in crl}


def sign_crl(
    folder: Path,
    authority: Identity,
    serials: Iterable[int] = (),
    *,
    days: int,
    now: datetime,
    may_shorten: bool = False,
) -> None:
    """Sign the revocation list again; lists of other CAs in the file stay.

    Its number rises with the time, not by one: a CA folder that was restored from a backup has forgotten numbers, and a
    list whose number is lower than that of the list in place is not installed.

    Args:
        folder: the certs folder.
        authority: the CA.
        serials: numbers to revoke besides those that are.
        days: how long it is good, with a margin of 7; longer where the list before it is good for longer, since it must
            outlive the certificates that were issued with that.
        now: an aware datetime.
        may_shorten: whether exactly ``days`` is meant.
    """
    path = folder / files.CRL
    lists = revocations(path) if files.is_there(path) else []
    subject = authority.certificate.subject
    own = [crl for crl in lists if crl.issuer == subject]
    known = {entry.serial_number: entry for crl in own for entry in crl}
    for serial in serials:
        known.setdefault(serial, profile.revocation(serial, now=now))
    numbers = map(profile.crl_number, own)
    ends = [] if may_shorten else [crl.next_update_utc for crl in own if crl.next_update_utc is not None]
    lasts = max([float(days), *((end - profile.CRL_MARGIN - now) / timedelta(days=1) for end in ends)])
    number = max(1 + max(numbers, default=0), int(now.timestamp()))
    signed = profile.new_crl(authority, known.values(), number=number, days=lasts, now=now)
    files.replace(path, signed + b"".join(profile.crl_pem(crl) for crl in lists if crl.issuer != subject))


def fresh_until(folder: Path) -> datetime | None:
    """When the first of the revocation lists must have been replaced."""
    lists = revocations(folder / files.CRL)
    return min((crl.next_update_utc for crl in lists if crl.next_update_utc), default=None)


def revocations(path: Path) -> list[x509.CertificateRevocationList]:
    """The revocation lists of a file.

    Raises:
        CredentialError: it cannot be read.
    """
    return parsing.revocation_lists(files.read(path), what="the revocation list", where=str(path))


def _rows(path: Path) -> list[str]:
    """The lines of a list that are not empty and no comment; none where there is no file.

    Raises:
        CredentialError: it cannot be read, or is no text in UTF-8.
    """
    if not files.is_there(path):
        return []
    try:
        text = from_utf8(files.read(path))
    except ValueError as error:
        raise CredentialError(f"{path} cannot be read: {error}", hint="save it as UTF-8 in a text editor") from None
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _lines(path: Path, *words: int) -> list[list[str]]:
    lines = [row.split() for row in _rows(path)]
    if any(len(line) not in words for line in lines):
        raise CredentialError(f"{path} has a line that does not have {words[0]} words", hint=_LINE)
    return lines


def _write(path: Path, lines: Iterable[Sequence[str]]) -> None:
    files.replace(path, "".join(" ".join(line) + "\n" for line in lines).encode())
