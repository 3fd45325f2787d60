"""Whether a session that was opened under one set of credentials may continue under another.

A handshake has OpenSSL verify the peer's whole chain. When lists and CAs are read again, verifying thousands of open
sessions at once would hold up all of them, so what a chain depends on is kept and looked up instead: who issued each
certificate, under which serial number, and which CA it ends in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography import x509

from securesplit.errors import CredentialError
from securesplit.i18n import gettext_noop
from securesplit.pki import profile
from securesplit.pki.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Chain:
    """What a verified chain depends on.

    Attributes:
        issued: of each certificate, the leaf first, the DER name of its issuer and its serial number.
        anchor: fingerprint of the CA that it ends in.
    """

    issued: tuple[tuple[bytes, int], ...]
    anchor: str

    @classmethod
    def of(cls, certificates: Sequence[x509.Certificate]) -> Self:
        """The chain of verified certificates, the leaf first."""
        issued = tuple((one.issuer.public_bytes(), one.serial_number) for one in certificates)
        return cls(issued, profile.fingerprint(certificates[-1]))


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """What a handshake has verified of a client.

    Attributes:
        fingerprint: SHA-256 of the certificate, hex.
        key: SHA-256 of its public key (DER SubjectPublicKeyInfo), hex; a renewal that keeps the key keeps it.
        chain: what it depends on.
    """

    fingerprint: str
    key: str
    chain: Chain

    @classmethod
    def of(cls, certificates: Sequence[x509.Certificate]) -> Self:
        """From the verified chain, the client's own certificate first."""
        leaf = certificates[0]
        return cls(profile.fingerprint(leaf), profile.key_fingerprint(leaf.public_key()), Chain.of(certificates))


class Trust:
    """Which peers some credentials trust.

    Args:
        credentials: of this side, checked.
    """

    def __init__(self, credentials: Credentials) -> None:
        lists = profile.load_crls(credentials.crl)
        self._allowed = credentials.allowed_clients
        self._anchors = {profile.fingerprint(one) for one in x509.load_pem_x509_certificates(credentials.ca)}
        self._listed = {crl.issuer.public_bytes() for crl in lists}
        rising = sorted(lists, key=profile.crl_number)
        self._numbers = {(crl.issuer.public_bytes(), _key_of(crl)): profile.crl_number(crl) for crl in rising}
        self._revoked = {(crl.issuer.public_bytes(), entry.serial_number) for crl in lists for entry in crl}

    def allows(self, shown: ShownCertificate) -> bool:
        """Whether a client is on the allow-list, its CA still trusted, and nothing in its chain revoked or unlisted."""
        chain = shown.chain
        return (
            shown.fingerprint in self._allowed
            and chain.anchor in self._anchors
            and all(issuer in self._listed for issuer, _ in chain.issued)
            and self._revoked.isdisjoint(chain.issued)
        )

    def check_follows(self, before: Trust) -> None:
        """That no revocation list here is older than that of the same CA in `before`, by its number.

        Raises:
            CredentialError: one is, which would let revoked peers in again.
        """
        if any(number < before._numbers.get(ca, number) for ca, number in self._numbers.items()):
            raise CredentialError(
                gettext_noop("the revocation list is older than the one in use"),
                hint=gettext_noop("bring crl.pem from the CA machine; keygen --renew signs it again there"),
            )


def _key_of(crl: x509.CertificateRevocationList) -> bytes | None:
    """What tells the key that signed a list from that of an earlier CA of the same name."""
    try:
        return crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
