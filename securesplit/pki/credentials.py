"""Credentials: what one side needs to prove itself and to judge its peer, already loaded and checked.

Credentials hold no file name and no open file, and can be pickled. Where they come from is for ``keystore.py``; the
rules of the check are here, so that files and in-memory keys pass the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from securesplit.errors import CredentialError
from securesplit.pki import naming, parsing, profile
from securesplit.pki.parsing import REMAKE
from securesplit.pki.profile import Identity
from securesplit.text import counted

_FOR_EVER = datetime.max.replace(tzinfo=UTC)
NOTICE = timedelta(days=30)  # so long before their end certificates and lists are warned of
CA_NOTICE = timedelta(days=120)  # leaves of 90 days that are issued later than this would outlive their CA
_RENEW = "securesplit enroll --renew; or securesplit keygen --renew on the CA machine, then copy the new files"


Span: TypeAlias = tuple[datetime, datetime]
"""From when something is good until when, both aware."""


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
        expires_at: when the own certificate ends, or the first of the CAs between it and a root.
        fingerprint: SHA-256 of the own certificate (hex).
        client_names: what the allow-list calls a certificate, by fingerprint (hex); it names clients whose certificates
            have no name of ours.
    """

    certificate: bytes
    private_key: bytes = field(repr=False)
    ca: bytes
    crl: bytes
    allowed_clients: frozenset[str]
    expires_at: datetime
    fingerprint: str
    client_names: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Sources:
    """Where the parts of credentials were read, as people know it.

    Attributes:
        certificate: of the own certificate.
        private_key: of its key.
        ca: of the CAs.
        crl: of the lists.
    """

    certificate: str
    private_key: str
    ca: str
    crl: str


@dataclass(frozen=True)
class Validity:
    """How long something is good.

    Attributes:
        start: from when it is good, aware.
        renew_from: from when it should be renewed, and is warned of; aware.
        until: its end, aware.
    """

    start: datetime
    renew_from: datetime
    until: datetime


_UNNAMED = Sources("the certificate", "the key", "the CA", "the list")


def check(
    *,
    certificate: bytes,
    private_key: bytes,
    ca: bytes,
    crl: bytes,
    allowed_clients: frozenset[str],
    side: str,
    now: datetime,
    sources: Sources | None = None,
) -> Credentials:
    """Parse and check files and return them as credentials, whose bytes are PEM whatever the files were.

    Args:
        certificate: PEM, the leaf first; or DER.
        private_key: PEM or DER.
        ca: PEM, one or more; or DER.
        crl: PEM, one or more; or DER.
        allowed_clients: fingerprints, hex.
        side: "server" or "client", for messages.
        now: an aware datetime.
        sources: where each of the first four was read, for messages.

    Raises:
        CredentialError: something cannot be parsed, the key does not fit, a date does not, or every peer would refuse
            the leaf.
    """
    where = _UNNAMED if sources is None else sources
    chain = parsing.certificates(certificate, what=f"the {side}'s certificates", where=where.certificate)
    authorities = parsing.certificates(ca, what=f"the {side}'s certificates", where=where.ca)
    lists = parsing.revocation_lists(crl, what="the revocation list", where=where.crl)
    key = parsing.private_key(private_key, what=f"the {side}'s private key", where=where.private_key)
    if not lists:
        raise CredentialError("the revocation list is empty", hint=REMAKE)
    _check_pair(chain, key, side, where)
    _check_purpose(chain[0], side, where.certificate)
    try:
        path = _path(chain, authorities)
    except ValueError:  # cryptography reads names when they are asked for
        raise CredentialError(f"a name in the {side}'s certificates cannot be read", hint=REMAKE) from None
    _check_dates(path, lists, side, now)
    return Credentials(
        profile.pem(chain),
        Identity(chain[0], key).key_pem,
        profile.pem(authorities),
        b"".join(map(profile.crl_pem, lists)),
        allowed_clients,
        min(one.not_valid_after_utc for one in path),
        profile.fingerprint(chain[0]),
    )


def _path(chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> list[x509.Certificate]:
    """The leaf and each CA between it and a root; what else came along, as cross-signed roots do, nobody needs."""
    roots, path = {one.subject for one in authorities}, chain[:1]
    while path[-1].issuer not in roots:
        issuers = [one for one in chain if one.subject == path[-1].issuer and one not in path]
        if not issuers:
            break
        path.append(max(issuers, key=lambda one: one.not_valid_after_utc))
    return path


def _path_of(credentials: Credentials) -> list[x509.Certificate]:
    return _path(*map(x509.load_pem_x509_certificates, (credentials.certificate, credentials.ca)))


def _check_pair(chain: list[x509.Certificate], key: ec.EllipticCurvePrivateKey, side: str, where: Sources) -> None:
    """That the first certificate is the key's."""
    owners = [number for number, one in enumerate(chain) if one.public_key() == key.public_key()]
    if owners and owners[0]:
        message = f"{where.certificate} has its certificates in the wrong order: number {owners[0] + 1} is the {side}'s"
        raise CredentialError(message, hint="put that one first, then each CA that issued the one before it")
    if not owners:
        hint = f"{where.certificate} and {where.private_key} must come from one run of keygen; or {REMAKE}"
        raise CredentialError(f"the {side}'s private key does not belong to its certificate", hint=hint)


def _check_purpose(leaf: x509.Certificate, side: str, where: str) -> None:
    """That a peer will take the leaf for what this side is; it would break the handshake off without saying why."""
    wanted = profile.USAGES[side]
    this = f"the {side} certificate is not for this use: {where}"
    name = f"{wanted._name}"  # noqa: SLF001  (cryptography has no public name of an OID)
    if not profile.has_only_usage(leaf, wanted):
        usages = ", ".join(profile.usages_of(leaf)) or "none"
        hint = f"issue it with extendedKeyUsage = {name} and no other; a worker needs serverAuth, a device clientAuth"
        raise CredentialError(f"{this} has the extended key usage {usages}, and needs {name} alone", hint=hint)
    if not profile.may_sign_handshakes(leaf):
        raise CredentialError(f"{this} may not sign", hint="issue it with keyUsage = digitalSignature")
    if side == "client" and naming.called(leaf, "by the worker's allow-list") is None:
        name = f"subjectAltName = URI:{naming.CLIENT_URI}NAME"
        hint = f"issue it with {name} and no other URI, or with securesplit keygen"
        raise CredentialError(f"{this} names no device, or several", hint=hint)


def renew_from(start: datetime, end: datetime, *, notice: timedelta = NOTICE) -> datetime:
    """From when a certificate or list is warned of: `notice` before its end, and no earlier than its last third.

    With a notice alone, what lives shorter than that would be warned of all its life.
    """
    return end - min(notice, (end - start) / 3)


def ends(credentials: Credentials) -> dict[str, Validity]:
    """When the ``server`` certificate, the first ``ca`` and the first ``revocation-list`` end.

    The certificate is good no longer than each CA between it and a root. While one root replaces another, the old one's
    end counts until it is no longer trusted.
    """
    authorities = x509.load_pem_x509_certificates(credentials.ca)
    own = _first([_life(one) for one in _path_of(credentials)])
    lists = [
        _span(crl.last_update_utc, crl.next_update_utc)
        for crl in profile.load_crls(credentials.crl)
        if crl.next_update_utc is not None
    ]
    return {
        "server": own,
        "ca": _first([_life(authority, CA_NOTICE) for authority in authorities]),
        "revocation-list": _first(lists or [own]),
    }


def _life(certificate: x509.Certificate, notice: timedelta = NOTICE) -> Validity:
    return _span(certificate.not_valid_before_utc, certificate.not_valid_after_utc, notice)


def _span(start: datetime, end: datetime, notice: timedelta = NOTICE) -> Validity:
    return Validity(start, renew_from(start, end, notice=notice), end)


def _first(lives: list[Validity]) -> Validity:
    """When all have begun, the first end, and the first time to renew, which may be another's."""
    return Validity(
        max(one.start for one in lives), min(one.renew_from for one in lives), min(one.until for one in lives)
    )


def trust_spans(credentials: Credentials) -> tuple[Span, ...]:
    """When peers can be accepted: a span for each CA with a list of its own, while both and the certificate are good.

    Outside all of them every peer is refused. A CA without a list of its own trusts nobody. Lists of intermediate CAs
    may refuse their peers at other times, too.
    """
    own = _first([_life(one) for one in _path_of(credentials)])
    return tuple(
        (
            max(own.start, authority.not_valid_before_utc, crl.last_update_utc),
            min(own.until, authority.not_valid_after_utc, crl.next_update_utc or _FOR_EVER),
        )
        for authority in x509.load_pem_x509_certificates(credentials.ca)
        for crl in profile.load_crls(credentials.crl)
        if crl.issuer == authority.subject
    )


def _check_dates(
    path: list[x509.Certificate], lists: list[x509.CertificateRevocationList], side: str, now: datetime
) -> None:
    leaf, *issuers = path
    if now > leaf.not_valid_after_utc:
        raise CredentialError(f"the {side} certificate expired {_ago(now - leaf.not_valid_after_utc)} ago", hint=_RENEW)
    if now < leaf.not_valid_before_utc:
        when = leaf.not_valid_before_utc.astimezone(UTC).isoformat()
        hint = f"check this machine's clock, which says {now:%Y-%m-%d %H:%M} UTC, and the CA machine's"
        raise CredentialError(f"the {side} certificate is valid only from {when}", hint=hint)
    for issuer in issuers:
        if now > issuer.not_valid_after_utc:
            name, ago = issuer.subject.rfc4514_string(), _ago(now - issuer.not_valid_after_utc)
            hint = "have the certificate issued by a CA that is still good, and put that one behind it"
            raise CredentialError(
                f"the CA {name}, which the {side} certificate comes from, expired {ago} ago", hint=hint
            )
    for crl in lists:
        if crl.next_update_utc is not None and now > crl.next_update_utc:
            raise CredentialError(f"the revocation list ended {_ago(now - crl.next_update_utc)} ago", hint=_RENEW)


def _ago(span: timedelta) -> str:
    days, hours = span.days, span.seconds // 3600
    if days:
        return counted(days, "day")
    return counted(hours, "hour") if hours else "moments"
