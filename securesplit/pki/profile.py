"""The private certificate authority: what a certificate of securesplit looks like.

Invariants:

- Keys are P-256. A leaf has exactly one extended key usage and names nothing but what it is for (``naming.py``).
- A leaf ends with its CA at the latest, and a CA that has ended issues none.
- notBefore lies 5 minutes back, so that a peer with a slow clock accepts a fresh certificate.
- The CA can sign leaves and revocation lists, and no further CA (path length 0).
- Every certificate and list passes OpenSSL's ``X509_V_FLAG_X509_STRICT``.

No files here: ``keystore.py`` has them. ``now`` is an aware datetime and always an argument.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securesplit.errors import ConfigError, CredentialError
from securesplit.pki import parsing
from securesplit.pki.naming import client_title, server_title

BACKDATING = timedelta(minutes=5)
CA_LIFETIME = timedelta(days=3650)
CRL_MARGIN = timedelta(days=7)  # a list outlives the leaves that were issued with it
USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
MAX_DAYS = 825  # days; what the CA/Browser Forum once allowed, and more than a private leaf should live


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key.

    Attributes:
        certificate: the certificate.
        key: its P-256 key.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM."""
        return key_pem(self.key)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER certificate, 64 lower-case hex digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates as PEM, one after the other."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_fingerprint(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 of a public key (DER SubjectPublicKeyInfo), 64 lower-case hex digits.

    As ``openssl pkey -pubin -outform der | sha256sum`` prints it; it stays the same over requests and renewals.
    """
    data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(data).hexdigest()


def has_only_usage(certificate: x509.Certificate, usage: x509.ObjectIdentifier) -> bool:
    """Whether the one extended key usage of the certificate is ``usage``."""
    return _usages(certificate) == [usage]


def usages_of(certificate: x509.Certificate) -> list[str]:
    """The extended key usages of a certificate, by their names in RFC 5280 where they have one."""
    names = ((usage._name, usage.dotted_string) for usage in _usages(certificate))  # noqa: SLF001
    return [dotted if name == "Unknown OID" else name for name, dotted in names]


def _usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def may_sign_handshakes(certificate: x509.Certificate) -> bool:
    """Whether the key usage allows digital signatures, which is all that a leaf does in TLS 1.3 (RFC 8446, 4.4.2.2).

    OpenSSL also takes a leaf whose key usage is for key agreement, or that has none.
    """
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return False


def check_days(days: int) -> int:
    """Return a lifetime in days that a leaf may have.

    Raises:
        ConfigError: it is under 1 or over 825.
    """
    if not 1 <= days <= MAX_DAYS:
        raise ConfigError(f"a certificate cannot live {days} days", hint=f"give --days between 1 and {MAX_DAYS}")
    return days


def new_ca(*, now: datetime) -> Identity:
    """Make a certificate authority; its name is unique, so that two can be trusted at once."""
    key = new_key()
    name = common_name(f"securesplit CA {secrets.token_hex(4)}")
    builder = _builder(name, name, key.public_key(), key.public_key(), now, CA_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(ca=True), critical=True)
    return Identity(builder.sign(key, hashes.SHA256()), key)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def new_server(ca: Identity, names: Sequence[str], *, days: int, now: datetime) -> Identity:
    """Make a server's key and issue its certificate; raises as `issue_server` does."""
    key = new_key()
    return Identity(issue_server(ca, key.public_key(), names, days=days, now=now), key)


def new_client(ca: Identity, name: str, *, days: int, now: datetime) -> Identity:
    """Make a client's key and issue its certificate; raises as `issue_client` does."""
    key = new_key()
    return Identity(issue_client(ca, key.public_key(), name, days=days, now=now), key)


def issue_server(
    ca: Identity, key: ec.EllipticCurvePublicKey, names: Sequence[str], *, days: int, now: datetime
) -> x509.Certificate:
    """Issue a server certificate for DNS names and addresses.

    Raises:
        ConfigError: a name is neither, there is none, or ``days`` is out of range.
        CredentialError: the CA has ended.
    """
    title, alternatives = server_title(names)
    return _leaf(ca, key, title, alternatives, ExtendedKeyUsageOID.SERVER_AUTH, days=days, now=now)


def issue_client(
    ca: Identity, key: ec.EllipticCurvePublicKey, name: str, *, days: int, now: datetime
) -> x509.Certificate:
    """Issue a client certificate.

    Raises:
        ConfigError: the name is not allowed, or ``days`` is out of range.
        CredentialError: the CA has ended.
    """
    title, alternatives = client_title(name)
    return _leaf(ca, key, title, alternatives, ExtendedKeyUsageOID.CLIENT_AUTH, days=days, now=now)


def new_crl(
    ca: Identity, revoked: Iterable[x509.RevokedCertificate], *, number: int, days: float, now: datetime
) -> bytes:
    """Sign a revocation list that is fresh for ``days`` and a margin of 7; as PEM."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(now - BACKDATING)
        .next_update(now + timedelta(days=days) + CRL_MARGIN)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def revocation(serial: int, *, now: datetime) -> x509.RevokedCertificate:
    """The entry of a list that revokes the certificate with this serial number."""
    return x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()


def load_key(data: bytes) -> ec.EllipticCurvePrivateKey:
    """Parse a private key.

    Raises:
        CredentialError: it is not an unencrypted elliptic-curve key.
    """
    return parsing.private_key(data, what="a private key", where="it")


def load_crls(pem: bytes) -> list[x509.CertificateRevocationList]:
    """Parse one or more concatenated PEM revocation lists.

    Raises:
        ValueError: one of them cannot be parsed.
    """
    end = b"-----END X509 CRL-----"
    try:
        return [x509.load_pem_x509_crl(part + end) for part in pem.split(end)[:-1]]
    except x509.InvalidVersion as error:  # which is no ValueError
        raise ValueError(str(error)) from error


def crl_number(crl: x509.CertificateRevocationList) -> int:
    """The number of a list, which rises with each one that its CA signs (RFC 5280, 5.2.3); 0 for one without."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def is_signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    """Whether a CA has signed a list."""
    try:
        key = authority.public_key()
        return isinstance(key, ec.EllipticCurvePublicKey) and crl.is_signature_valid(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # what is damaged shows only here
        return False


def crl_pem(crl: x509.CertificateRevocationList) -> bytes:
    """A revocation list as PEM."""
    return crl.public_bytes(Encoding.PEM)


def _leaf(
    ca: Identity,
    key: ec.EllipticCurvePublicKey,
    title: str,
    alternatives: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    *,
    days: int,
    now: datetime,
) -> x509.Certificate:
    lifetime = min(timedelta(days=check_days(days)), _left(ca, now))
    builder = _builder(common_name(title), ca.certificate.subject, key, ca.key.public_key(), now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(ca=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(ca.key, hashes.SHA256())


def _left(ca: Identity, now: datetime) -> timedelta:
    """How long the CA lives, which nothing that it issues outlives.

    Raises:
        CredentialError: it has ended.
    """
    left = ca.certificate.not_valid_after_utc - now
    if left <= timedelta():
        message = f"the CA ended on {ca.certificate.not_valid_after_utc:%Y-%m-%d}: nobody would take what it issues"
        raise CredentialError(message, hint="replace the CA (docs/operations.md)")
    return left


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def common_name(text: str) -> x509.Name:
    """A distinguished name that is nothing but a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
