"""Credentials: what one side needs to prove itself and to judge its peer, already loaded and checked.

Credentials hold no file name and no open file, and can be pickled. Where they come from is for ``keystore.py``; the
rules of the check are here, so that files and in-memory keys pass the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from securesplit.channel import pki
from securesplit.errors import CredentialError

SOON_DAYS = 30  # certificates and lists that end within this time are warned of
CA_SOON_DAYS = 120  # leaves of 90 days that are issued later than this would outlive their CA
REMAKE = "check the files, or make a new folder with securesplit keygen --out DIR"
_RENEW = "securesplit keygen --renew, then copy the new files"


@dataclass(frozen=True)
class Credentials:
    """One side's keys and certificates.

    Attributes:
        certificate: own certificate as PEM, followed by intermediates where there are some; empty for a client that
            shows none, which every server refuses.
        private_key: its key as PEM.
        ca: one or more CA certificates as PEM; several while a CA is being replaced.
        crl: the revocation list of each of them as PEM.
        allowed_clients: SHA-256 fingerprints (hex) of the client certificates that a server takes; empty on a client.
        expires_at: when the own certificate ends.
        fingerprint: SHA-256 of the own certificate (hex).
    """

    certificate: bytes
    private_key: bytes = field(repr=False)
    ca: bytes
    crl: bytes
    allowed_clients: frozenset[str]
    expires_at: datetime
    fingerprint: str


def check(
    *,
    certificate: bytes,
    private_key: bytes,
    ca: bytes,
    crl: bytes,
    allowed_clients: frozenset[str],
    side: str,
    now: datetime,
) -> Credentials:
    """Parse and check PEM files and return them as credentials.

    Args:
        certificate: PEM, the leaf first.
        private_key: PEM.
        ca: PEM, one or more.
        crl: PEM, one or more.
        allowed_clients: fingerprints, hex.
        side: "server" or "client", for messages.
        now: an aware datetime.

    Raises:
        CredentialError: something cannot be parsed, the key does not fit, or a date does not.
    """
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        public_key = leaf.public_key()
        x509.load_pem_x509_certificates(ca)
        lists = pki.load_crls(crl)
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise CredentialError(f"the {side}'s certificates cannot be read: {error}", hint=REMAKE) from error
    if pki.load_key(private_key).public_key() != public_key:
        raise CredentialError(f"the {side}'s private key does not belong to its certificate", hint=REMAKE)
    if not lists:
        raise CredentialError("the revocation list is empty", hint=REMAKE)
    _check_dates(leaf, lists, side, now)
    return Credentials(
        certificate, private_key, ca, crl, allowed_clients, leaf.not_valid_after_utc, pki.fingerprint(leaf)
    )


def ends(credentials: Credentials) -> dict[str, datetime]:
    """When the ``server`` certificate, the first ``ca`` and the first ``revocation-list`` end, aware.

    While one CA replaces another, the old one's end counts until it is no longer trusted.
    """
    authorities = x509.load_pem_x509_certificates(credentials.ca)
    lists = [crl.next_update_utc for crl in pki.load_crls(credentials.crl)]
    return {
        "server": credentials.expires_at,
        "ca": min(authority.not_valid_after_utc for authority in authorities),
        "revocation-list": min((end for end in lists if end is not None), default=credentials.expires_at),
    }


def _check_dates(leaf: x509.Certificate, lists: list[x509.CertificateRevocationList], side: str, now: datetime) -> None:
    if now > leaf.not_valid_after_utc:
        raise CredentialError(f"the {side} certificate expired {_ago(now - leaf.not_valid_after_utc)} ago", hint=_RENEW)
    if now < leaf.not_valid_before_utc:
        when = leaf.not_valid_before_utc.astimezone(UTC).isoformat()
        raise CredentialError(f"the {side} certificate is valid only from {when}", hint="check this machine's clock")
    for crl in lists:
        if crl.next_update_utc is not None and now > crl.next_update_utc:
            raise CredentialError(f"the revocation list ended {_ago(now - crl.next_update_utc)} ago", hint=_RENEW)


def _ago(span: timedelta) -> str:
    days, hours = span.days, span.seconds // 3600
    if days:
        return f"{days} day{'s' if days > 1 else ''}"
    return f"{hours} hour{'s' if hours > 1 else ''}" if hours else "moments"
