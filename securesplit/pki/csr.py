"""Requests for a certificate (PKCS #10, RFC 2986), as `enroll` makes them and as the CA reads them.

Invariants:

- A request names who asks and nothing else: a device its ``spiffe://securesplit/client/NAME``, a worker its DNS names
  and addresses, as alternative names. When it was made stands in it as unstructuredName (RFC 2985, 5.4.1), so that it
  is under the signature too.
- A request comes from a stranger. `parse` checks, in this order: size; one request and nothing else; key on P-256;
  signature by that key over SHA-2 (proof of possession); no extension that asks for more than a name; the names. What
  is issued is made by ``profile.py`` from names and key alone; nothing else of a request reaches a certificate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID

from securesplit.errors import ConfigError, CredentialError
from securesplit.pki import naming, parsing, profile

MAX_BYTES = 65_536  # bytes; a request of one name has under 1 kB
LIFETIME = timedelta(days=7)
CLOCK_SKEW = timedelta(days=1)  # between device and CA machine, which is best kept off the network

_MADE = "made "
_DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_AGAIN = "make a new one on the device or worker with securesplit enroll"
_UNPARSABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
)


@dataclass(frozen=True)
class CertificateRequest:
    """A request that was checked by itself; whether its name is free is for ``issuing.py``.

    Attributes:
        names: of a client its one name, of a server its DNS names and addresses.
        is_server: which of the two.
        key: the public key, on P-256.
        made_at: when it was made, as it says; None where it does not say.
        digest: SHA-256 of what is signed, hex; the same whatever the signature and the form of the file.
    """

    names: tuple[str, ...]
    is_server: bool
    key: ec.EllipticCurvePublicKey
    made_at: datetime | None
    digest: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, hex: what people compare."""
        return profile.key_fingerprint(self.key)

    @property
    def title(self) -> str:
        """Whose it is, as reports have it."""
        return f"server {', '.join(self.names)}" if self.is_server else f"client {self.names[0]}"


def build(key: ec.EllipticCurvePrivateKey, *, client: str, server_names: Sequence[str], now: datetime) -> bytes:
    """Make a request, as PEM.

    Args:
        key: on P-256; it signs the request.
        client: who asks; not looked at where there are server names.
        server_names: DNS names and addresses, of a worker.
        now: an aware datetime.

    Raises:
        ConfigError: a name is not allowed.
    """
    title, names = naming.server_title(server_names) if server_names else naming.client_title(client)
    builder = x509.CertificateSigningRequestBuilder().subject_name(profile.common_name(title))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = f"{_MADE}{now.isoformat()}".encode()
    builder = builder.add_attribute(AttributeOID.UNSTRUCTURED_NAME, made)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def parse(data: bytes, *, where: str) -> CertificateRequest:
    """Read and check a request.

    Args:
        data: PEM or DER.
        where: it was read.

    Raises:
        CredentialError: it is not a request, its key is not on P-256 or did not sign it, or it asks for anything but
            names that securesplit gives.
    """
    if len(data) > MAX_BYTES:
        raise CredentialError(f"the request in {where} has over {MAX_BYTES:,} bytes", hint=_AGAIN)
    asked = parsing.request(data, where=where)
    try:
        return _checked(asked, where)
    except _UNPARSABLE:
        raise _refused(where, "is damaged, or of a kind that cannot be read") from None


def check_age(request: CertificateRequest, *, where: str, now: datetime) -> None:
    """That a request was made within the last 7 days, where it says when.

    Raises:
        CredentialError: it is older, or from a day that has not come.
    """
    if request.made_at is None:
        return
    made = f"{request.made_at:%Y-%m-%d %H:%M} UTC"
    if now - request.made_at > LIFETIME:
        raise CredentialError(f"the request in {where} has expired: it was made on {made}", hint=_AGAIN)
    if request.made_at - now > CLOCK_SKEW:
        hint = f"compare the clocks; this machine's says {now:%Y-%m-%d %H:%M} UTC"
        raise CredentialError(f"the request in {where} was made in the future, on {made}", hint=hint)


def _checked(asked: x509.CertificateSigningRequest, where: str) -> CertificateRequest:
    key = asked.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused(where, "has a key that is not on the curve P-256")
    if not isinstance(asked.signature_hash_algorithm, _DIGESTS) or not asked.is_signature_valid:
        raise _refused(where, "is not signed by its own key, so nobody has shown to have it")
    names, is_server = _names(asked.extensions, where)
    for extension in asked.extensions:
        if not _is_harmless(extension.value, is_server=is_server):
            name = extension.oid._name  # noqa: SLF001  (cryptography has no public name of an OID)
            found = name if name != "Unknown OID" else extension.oid.dotted_string
            raise _refused(where, f"asks for more than a name ({found})")
    digest = hashlib.sha256(asked.tbs_certrequest_bytes).hexdigest()
    return CertificateRequest(names, is_server, key, _made_at(asked), digest)


def _is_harmless(value: x509.ExtensionType, *, is_server: bool) -> bool:
    """Whether an extension asks for what every certificate of this kind has anyway."""
    usage = ExtendedKeyUsageOID.SERVER_AUTH if is_server else ExtendedKeyUsageOID.CLIENT_AUTH
    match value:
        case x509.SubjectAlternativeName() | x509.SubjectKeyIdentifier():
            return True
        case x509.BasicConstraints():
            return not value.ca
        case x509.KeyUsage():
            return not value.key_cert_sign and not value.crl_sign
        case x509.ExtendedKeyUsage():
            return list(value) == [usage]
    return False


def _names(extensions: x509.Extensions, where: str) -> tuple[tuple[str, ...], bool]:
    """The names that are asked for, as they will be in the certificate, and whether they are a server's."""
    try:
        asked = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        asked = []
    try:
        match asked:
            case [x509.UniformResourceIdentifier(value=uri)] if uri.startswith(naming.CLIENT_URI):
                return (naming.check_client_name(uri.removeprefix(naming.CLIENT_URI)),), False
            case [_, *_] if all(isinstance(name, x509.DNSName | x509.IPAddress) for name in asked):
                names = [str(naming.check_server_name(str(name.value)).value) for name in asked]
                return tuple(dict.fromkeys(names)), True
    except ConfigError as error:
        raise _refused(where, f"asks for a bad name: {error.message}") from None
    raise _refused(where, "names neither one device nor a worker's DNS names and addresses")


def _made_at(asked: x509.CertificateSigningRequest) -> datetime | None:
    try:
        text = asked.attributes.get_attribute_for_oid(AttributeOID.UNSTRUCTURED_NAME).value.decode()
    except x509.AttributeNotFound:
        return None
    made = datetime.fromisoformat(text.removeprefix(_MADE)) if text.startswith(_MADE) else None
    return made if made is None or made.tzinfo is not None else None


def _refused(where: str, why: str) -> CredentialError:
    return CredentialError(f"the request in {where} {why}", hint=_AGAIN)
